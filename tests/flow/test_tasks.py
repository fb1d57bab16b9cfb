"""What Prefect is told of a stage."""

import logging
import sys

import pytest
from prefect.exceptions import FailedRun
from prefect.states import StateType

from pipeline.flow.tasks import state
from pipeline.orchestration.plan.schedule import Outcome, StageResult


@pytest.mark.parametrize(
    ("outcome", "name", "kind"),
    [
        (Outcome.BUILT, "Completed", StateType.COMPLETED),
        (Outcome.CACHED, "Cached", StateType.COMPLETED),
        (Outcome.RESTORED, "Restored", StateType.COMPLETED),
        (Outcome.FAILED, "Failed", StateType.FAILED),
        (Outcome.SKIPPED, "Skipped", StateType.CANCELLED),
        (Outcome.CANCELLED, "Cancelled", StateType.CANCELLED),
    ],
)
def test_each_outcome_has_a_state_of_its_own(outcome: Outcome, name: str, kind: StateType) -> None:
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
