"""Concludes a build: reads its verdict, keeps it for the history, and tells whom it concerns."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module

from pipeline.errors import INTERRUPTED, BardletError, IntegrityError
from pipeline.layout import Layout
from pipeline.orchestration.pages.notify import message, notify
from pipeline.orchestration.plan.schedule import GOOD, StageResult
from pipeline.orchestration.plan.summary import exit_code, summarize
from pipeline.records import history
from pipeline.records.verdict import Outcome, Verdict

GATE = "gate"


@dataclass(frozen=True)
class Ending:
    """How a build ended.

    Attributes:
        text: for people, many lines.
        exit_code: of the build.
        verdict: the gate's, if the gate was part of the build and said something.
    """

    text: str
    exit_code: int
    verdict: Verdict | None

    @property
    def headline(self) -> str:
        """The whole in one line."""
        total = next(line for line in self.text.splitlines() if line.startswith("build: "))
        judged = f"; the gate says {self.verdict.verdict}" if self.verdict else ""
        return total.removeprefix("build: ") + judged


def conclude(
    layout: Layout, results: Sequence[StageResult], problem: BardletError | None, seconds: float, keep: bool
) -> Ending:
    """Say how a build ended, and tell BARDLET_NOTIFY what a person has to look at.

    Args:
        layout: of the workspace.
        results: by stage, in serial order.
        problem: of the build itself, before its stages or after them.
        seconds: it took.
        keep: append it to the history.
    """
    code = exit_code(results) or (int(problem.exit_code) if problem else 0)
    told = [f"build: error: {problem}"] if problem else []
    text = "\n".join([*told, *([summarize(results, seconds)] if results or not problem else [])])
    verdict = _verdict(layout, results)
    judged = verdict.verdict if verdict else None
    lines: list[str | None] = []
    if keep and code != INTERRUPTED:
        history.append(layout.history, history.night(verdict, code, seconds, _commit(), datetime.now(UTC)))
        lines.append(_report(layout) if verdict else None)
    if code != INTERRUPTED and (code or judged not in (None, Outcome.PASS)):
        failed = [f"{result.name}: {result.message}" for result in results if result.outcome not in GOOD]
        reasons = (verdict.misses() if verdict else []) or failed or [str(problem)]
        lines.append(notify(message(code, judged, reasons)))
    return Ending("\n".join([text, *filter(None, lines)]), code, verdict)


def _verdict(layout: Layout, results: Sequence[StageResult]) -> Verdict | None:
    """The gate's verdict on what this build leaves; one that is older than its stages says nothing."""
    if not any(result.name == GATE and result.outcome in GOOD for result in results):
        return None
    try:
        return Verdict.read(layout.verdict)
    except IntegrityError:
        return None


def _report(layout: Layout) -> str | None:
    """Draw the report anew, with this build in its history; returns what went wrong with it."""
    # A build without history needs none of what this imports.
    page = import_module("pipeline.report.page")
    try:
        page.write(layout, layout.report)
    except BardletError as error:
        return f"report: {error}"
    return None


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None
