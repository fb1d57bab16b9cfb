"""`bardlet gate`: judge the measurements against the budgets again and show every check."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.errors import BudgetError, InconclusiveError
from pipeline.gate.verdict import judge_workspace
from pipeline.layout import Layout
from pipeline.records.verdict import Check, CheckKind, ModelVerdict, Outcome, format_number

_COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.INCONCLUSIVE: "yellow"}
# Columns in a file or a log, so that nothing is cut off there.
_PLAIN_WIDTH = 120


def gate(
    root: Annotated[Path, typer.Option("--root", help="Folder of params.yaml.", metavar="FOLDER")] = Path(),
) -> None:
    """Judge the measurements against the budgets again and show every check.

    Reads params.yaml, artifacts/fleet/ and artifacts/benchmark/results.json, and writes nothing. Exits with 0 when
    all budgets are met, with 1 when one is missed, with 3 when the measurements are too noisy to tell.
    """
    verdict = judge_workspace(Layout(root))
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for name, model in verdict.models.items():
        _show(name, model, console)
    where = verdict.host.get("cpu", "this host")
    console.print(f"verdict: [{_COLOURS[verdict.verdict]}]{verdict.verdict}[/] on {where}", highlight=False)
    if verdict.verdict is Outcome.FAIL:
        raise BudgetError("budgets are missed:\n" + "\n".join(verdict.misses()))
    if verdict.verdict is Outcome.INCONCLUSIVE:
        raise InconclusiveError("the measurements allow no verdict:\n" + "\n".join(verdict.misses()))


def _show(name: str, model: ModelVerdict, console: Console) -> None:
    table = Table(title=f"{name}: {model.verdict}", title_justify="left", box=box.SIMPLE, pad_edge=False)
    for column in ("verdict", "variant", "check"):
        table.add_column(column, no_wrap=True)
    for column in ("observed", "budget", "margin", "", "line"):
        table.add_column(column, justify="right", no_wrap=True)
    for check in model.checks:
        table.add_row(*_row(check))
    console.print(table)
    for payoff in model.payoff:
        console.print(payoff.message, markup=False, highlight=False, style="" if payoff.pays else "yellow")
    console.print(f"ships: {model.ships()}", highlight=False)


def _row(check: Check) -> list[str]:
    return [
        f"[{_COLOURS[check.verdict]}]{check.verdict}[/]",
        " ".join(part for part in (check.engine, check.variant) if part) or "student",
        check.label if check.kind is CheckKind.QUALITY else f"{check.kind} {check.case}".rstrip(),
        _number(check.observed, check.unit),
        _number(check.allowed, check.unit),
        _number(check.margin, check.unit),
        "" if check.margin_fraction is None else f"{check.margin_fraction:+.0%}",
        str(check.line or ""),
    ]


def _number(value: float | None, unit: str) -> str:
    """A number in a narrow column; the messages have all digits."""
    if value is None:
        return "-"
    if unit == "bytes":
        return f"{value / 1e6:.4g} MB"
    return format_number(value, unit) if unit == "ms" else f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
