"""How a build ended: a line a stage, one for all, and the exit code."""

from collections import Counter
from collections.abc import Sequence

from pipeline.errors import INTERRUPTED, ExitCode
from pipeline.orchestration.plan.schedule import GOOD, StageOutcome, StageResult


def exit_code(results: Sequence[StageResult]) -> int:
    """The code of the first failure in the order of `dvc repro`, which would have stopped there; 130 if cancelled."""
    for result in results:
        if result.outcome is StageOutcome.FAILED:
            return result.exit_code or ExitCode.BROKEN
    cancelled = any(result.outcome is StageOutcome.CANCELLED for result in results)
    return INTERRUPTED if cancelled else ExitCode.PASS


def stage_exit_code(status: int) -> int:
    """The exit code of a build whose stage ended with `status`; any code that `ExitCode` does not have becomes 5."""
    return status if status in set(ExitCode) and status != ExitCode.PASS else ExitCode.BROKEN


def summarize(results: Sequence[StageResult], seconds: float) -> str:
    """A line for each stage that was not up to date, then the totals."""
    counts = Counter(result.outcome for result in results)
    lines = [_line(result) for result in results if result.outcome is not StageOutcome.CACHED]
    totals = ", ".join(f"{counts[outcome]} {outcome}" for outcome in StageOutcome if counts[outcome])
    stages = "1 stage" if len(results) == 1 else f"{len(results)} stages"
    return "\n".join([*lines, f"build: {stages}: {totals or 'nothing to build'} in {seconds:.1f} s"])


def _line(result: StageResult) -> str:
    took = f" in {result.seconds:.1f} s" if result.seconds else ""
    why = f" ({'; '.join(result.reasons)})" if result.reasons and (result.outcome in GOOD or not result.message) else ""
    return f"  {result.outcome:9} {result.name}{took}{why}{f': {result.message}' if result.message else ''}"
