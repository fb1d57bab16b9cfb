"""`bardlet validate`: check params.yaml, the installed tools and the teachers' sources before anything runs."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from pipeline.params import toolchain
from pipeline.params.blocks import ModelParams
from pipeline.params.file import LoadedParams, load_params


def validate(
    params: Annotated[Path, typer.Option("--params", help="File to check.", metavar="FILE")] = Path("params.yaml"),
) -> None:
    """Check params.yaml, the installed tools and the teachers' sources.

    Reports every problem at once, with file, line and what to write instead, and exits with 2 if there is one.
    """
    loaded = load_params(params)
    toolchain.check(loaded)
    _check_sources(loaded)
    for name in loaded.params.fleet:
        print(f"{params}: {name}: {_summary(loaded.params.models[name])}")


def _check_sources(loaded: LoadedParams) -> None:
    if find_spec("pipeline.teacher") and find_spec("pipeline.teacher.sources"):
        import_module("pipeline.teacher.sources").check(loaded)


def _summary(model: ModelParams) -> str:
    return f"ok; {model.task}, {model.describe()}"
