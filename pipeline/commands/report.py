"""`bardlet report`: write one self-contained HTML page from what the stages left."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.layout import Layout
from pipeline.report.page import write


def report(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write; default: artifacts/report/index.html.")
    ] = None,
) -> None:
    """Write artifacts/report/index.html, one page to decide from.

    It shows the verdict and why, every variant, what each step of compression gained, and the raw latencies. What
    has not been built yet is named on the page; with nothing built at all, exit code 4.
    """
    layout = Layout()
    target = out or layout.report
    for note in write(layout, target):
        print(f"report: {note}")
    print(f"report: {target}")
