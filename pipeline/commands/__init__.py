"""The subcommands of `bardlet`, one module and one function of the same name each; see pipeline.cli."""
