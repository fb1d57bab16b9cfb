"""The `bardlet` command. A subcommand's module is imported only when it is called.

So `bardlet run` on a device needs neither torch nor the schema of params.yaml. To add a subcommand, write
`pipeline/commands/<name>.py` with a function `<name>` and give it a line in `COMMANDS`.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from typing import Annotated

import typer

from pipeline import stage
from pipeline.errors import INTERRUPTED, InputError

COMMANDS = {
    "validate": "Check params.yaml, the installed tools and the teachers' sources.",
    "build": "Build what is not up to date, several stages at a time.",
    "serve": "Start Prefect's UI and serve the nightly build.",
    "worker": "Run stages of a pool on this machine, for builds elsewhere.",
    "gate": "Judge the measurements against the budgets again and show the verdict.",
    "report": "Write artifacts/report/index.html, one page to decide from.",
    "run": "Run a release on texts; with --corpus, search a file.",
    "bench": "Measure exported variants on this machine.",
}
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_EPILOG = (
    "Exit codes: 0 pass, 1 a budget is missed, 2 wrong input, 3 the measurement is inconclusive, "
    "4 an artifact fails its integrity check, 5 a stage or an engine failed."
)


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
    chosen = next((argument for argument in arguments if not argument.startswith("-")), None)
    command = typer.main.get_command(_app(chosen))
    try:
        return command.main(arguments or ["--help"], prog_name="bardlet", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        # Typer's own exit code would be 1 for some of them, and 1 says that a budget is missed.
        context = getattr(error, "ctx", None)
        raise InputError("\n".join([str(error), *([context.get_usage()] if context else [])])) from error


def _app(chosen: str | None) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None, add_completion=False, epilog=_EPILOG, context_settings=_SETTINGS)
    app.callback(help="From a large teacher checkpoint to verified, measured and gated models for the edge.")(_options)
    for name, summary in COMMANDS.items():
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
