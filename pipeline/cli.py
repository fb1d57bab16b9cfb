"""The `bardlet` command. A subcommand's module is imported only when it is called.

So `bardlet run` on a device needs nothing that only a build needs, not even the package that parses the other
subcommands. To add a subcommand, write `pipeline/commands/<name>.py` with a function `<name>` and give it a line in
`COMMANDS`; one for devices has a `main` over its arguments instead, and a line in `ON_A_DEVICE`.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from pipeline import stage

COMMANDS = {
    "validate": "Check params.yaml, the installed tools and the teachers' sources.",
    "build": "Build what is not up to date, several stages at a time.",
    "serve": "Start Prefect's UI and serve the nightly build.",
    "worker": "Run stages of a pool on this machine, for builds elsewhere.",
    "gate": "Judge the measurements against the budgets again and show the verdict.",
    "report": "Write artifacts/report/index.html, one page to decide from.",
    "run": "Run a release on texts or images; with --corpus, search a file.",
    "chat": "Talk to a release in the terminal.",
    "bench": "Measure exported variants on this machine.",
}
# These commands run with the standard library and pipeline.runtime alone.
ON_A_DEVICE = ("run", "chat")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bardlet` with `argv` (default: the command line) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = _take_debug(arguments)
    return stage.guard(lambda: _dispatch(arguments), "bardlet", debug)


def _take_debug(arguments: list[str]) -> bool:
    """Remove `--debug`, wherever it stands before a `--`, so that every subcommand has it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = arguments[:end].count("--debug")
    arguments[:end] = [argument for argument in arguments[:end] if argument != "--debug"]
    return flags > 0


def _dispatch(arguments: list[str]) -> object:
    if arguments and arguments[0] in ON_A_DEVICE:
        return import_module(f"pipeline.commands.{arguments[0]}").main(arguments[1:])
    # Imports Typer, which a device does without.
    from pipeline.commands import app

    return app.run(arguments, COMMANDS)
