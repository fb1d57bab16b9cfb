"""`bardlet report`: write one self-contained HTML page from what the stages left."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.files import new_file
from pipeline.layout import Layout
from pipeline.params_file import load_params
from pipeline.report.evidence import read_evidence
from pipeline.report.page import render


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
    params = load_params(layout.params).params
    evidence = read_evidence(layout, params.fleet)
    target = out or layout.report
    with new_file(target) as temporary:
        temporary.write_text(render(params, evidence), encoding="utf-8")
    for note in evidence.notes:
        print(f"report: {note}")
    print(f"report: {target}")
