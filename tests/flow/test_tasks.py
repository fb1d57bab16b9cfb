"""What Prefect is told of a stage."""

import logging
import sys

import pytest
from prefect.exceptions import FailedRun
from prefect.states import StateType

from pipeline.flow.tasks import state
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult


@pytest.mark.parametrize(
    ("outcome", "name", "kind"),
    [
        (StageOutcome.BUILT, "Completed", StateType.COMPLETED),
        (StageOutcome.CACHED, "Cached", StateType.COMPLETED),
        (StageOutcome.RESTORED, "Restored", StateType.COMPLETED),
        (StageOutcome.FAILED, "Failed", StateType.FAILED),
        (StageOutcome.SKIPPED, "Skipped", StateType.CANCELLED),
        (StageOutcome.CANCELLED, "Cancelled", StateType.CANCELLED),
    ],
)
def test_each_outcome_has_a_state_of_its_own(outcome: StageOutcome, name: str, kind: StateType) -> None:
    shown = state(StageResult("a", outcome, ("params.yaml: a.epochs 4 → 6",)))
    assert (shown.name, shown.type) == (name, kind)
    assert shown.message == "params.yaml: a.epochs 4 → 6"


def test_what_failed_is_not_said_again_with_a_traceback() -> None:
    logger = logging.getLogger("prefect.task_runs")
    for error in (FailedRun("stage a failed"), OSError("disk full")):
        try:
            raise error
        except Exception:
            keeps = all(
                check(logger.makeRecord(logger.name, logging.ERROR, "", 0, "message", (), sys.exc_info()))
                for check in logger.filters
                if callable(check)
            )
        assert keeps is isinstance(error, OSError)
