"""`bardlet validate`: check params.yaml, the installed tools and the teachers' sources before anything runs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.params import toolchain
from pipeline.params.file import load_params
from pipeline.teacher import sources


def validate(
    params: Annotated[Path, typer.Option("--params", help="File to check.", metavar="FILE")] = Path("params.yaml"),
) -> None:
    """Check params.yaml, the installed tools and the teachers' sources.

    Reports every problem at once, with file, line and what to write instead, and exits with 2 if there is one.
    """
    loaded = load_params(params)
    toolchain.check(loaded)
    sources.check(loaded)
    for name in loaded.params.fleet:
        model = loaded.params.models[name]
        print(f"{params}: {name}: ok; {model.task}, {model.describe()}")
