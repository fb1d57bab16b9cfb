"""The subcommands of a build as one Typer app; those of a device are parsed by their own modules."""

from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from typing import Annotated

import typer

from pipeline.errors import INTERRUPTED, InputError

_SETTINGS = {"help_option_names": ["-h", "--help"]}
_EPILOG = (
    "Exit codes: 0 pass, 1 a budget is missed, 2 wrong input, 3 the measurement is inconclusive, "
    "4 an artifact fails its integrity check, 5 a stage or an engine failed."
)


def run(arguments: list[str], commands: Mapping[str, str]) -> object:
    """Run the subcommand that `arguments` name, and return what it returns.

    Args:
        arguments: of `bardlet`; nothing shows the help.
        commands: each subcommand with its summary.

    Raises:
        InputError: no such subcommand or option, or a value that an option does not take.
    """
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    command = typer.main.get_command(_app(chosen, commands))
    try:
        return command.main(arguments or ["--help"], prog_name="bardlet", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        # Typer's own exit code would be 1 for some of them, and 1 says that a budget is missed.
        context = getattr(error, "ctx", None)
        raise InputError("\n".join([str(error), *([context.get_usage()] if context else [])])) from error


def _app(chosen: str | None, commands: Mapping[str, str]) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None, add_completion=False, epilog=_EPILOG, context_settings=_SETTINGS)
    app.callback(help="From a large teacher checkpoint to verified, measured and gated models for the edge.")(_options)
    for name, summary in commands.items():
        function = load(name) if name == chosen else _not_loaded
        app.command(name, short_help=summary, epilog=_EPILOG if name == chosen else None)(function)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"bardlet {metadata.version('bardlet')}")
        except metadata.PackageNotFoundError:
            print("bardlet, run from a folder and not installed")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; works after a subcommand too.")] = False,
) -> None:
    """Options of `bardlet` itself; `main` has taken `--debug` out already."""


def load(name: str) -> Callable[..., object]:
    """Import a subcommand's module and return its function."""
    function: Callable[..., object] = getattr(import_module(f"pipeline.commands.{name}"), name)
    return function


def _not_loaded() -> None:
    """Stand in for a subcommand that this call does not need."""
