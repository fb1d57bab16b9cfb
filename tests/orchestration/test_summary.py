import pytest

from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from pipeline.orchestration.plan.summary import exit_code, stage_exit_code, summarize


def test_the_first_failure_in_serial_order_decides() -> None:
    results = [
        StageResult("a", StageOutcome.BUILT),
        StageResult("b", StageOutcome.FAILED, exit_code=3),
        StageResult("c", StageOutcome.FAILED, exit_code=1),
        StageResult("d", StageOutcome.SKIPPED),
    ]
    assert exit_code(results) == 3


def test_a_cancelled_build_ends_like_an_interrupted_one() -> None:
    assert exit_code([StageResult("a", StageOutcome.CANCELLED)]) == 130


def test_nothing_failed_is_0() -> None:
    assert exit_code([StageResult("a", StageOutcome.CACHED), StageResult("b", StageOutcome.RESTORED)]) == 0


@pytest.mark.parametrize(("status", "code"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (127, 5), (-9, 5), (0, 5)])
def test_codes_of_stages_come_through(status: int, code: int) -> None:
    assert stage_exit_code(status) == code


def test_the_summary_names_what_was_not_up_to_date() -> None:
    text = summarize(
        [
            StageResult("a", StageOutcome.CACHED),
            StageResult("b", StageOutcome.BUILT, ("x.py changed",), seconds=1.26),
            StageResult("c", StageOutcome.FAILED, message="exited with 3", seconds=2),
        ],
        12.34,
    )
    assert text.splitlines() == [
        "  built     b in 1.3 s (x.py changed)",
        "  failed    c in 2.0 s: exited with 3",
        "build: 3 stages: 1 built, 1 cached, 1 failed in 12.3 s",
    ]
