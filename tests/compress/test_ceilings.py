import pytest
import torch
from torch import nn

from pipeline.compress.ceilings import Ceilings
from pipeline.cost import Cost
from pipeline.errors import InputError, StageError

_EXAMPLE = {"input": torch.zeros(3, 5)}


def test_none_in_the_file_is_no_limit() -> None:
    assert Ceilings.written("none", 7) == Ceilings(None, 7)
    assert Ceilings.written("none", "none").met_by(Cost(10**12, 10**12))


def test_a_ceiling_may_be_reached_and_not_passed() -> None:
    ceilings = Ceilings(100, 1000)
    assert ceilings.met_by(Cost(100, 1000))
    assert not ceilings.met_by(Cost(101, 1000))
    assert not ceilings.met_by(Cost(100, 1001))
    assert ceilings.excess(Cost(130, 900)) == Cost(30, 0)


def test_progress_is_the_share_of_each_excess_that_goes_and_never_more() -> None:
    ceilings = Ceilings(100, 1000)
    now = Cost(140, 1200)
    assert ceilings.progress(now, Cost(130, 1150)) == pytest.approx(10 / 40 + 50 / 200)
    assert ceilings.progress(now, Cost(50, 1200)) == pytest.approx(1.0)
    assert ceilings.progress(now, Cost(0, 0)) == pytest.approx(2.0)
    # Below one ceiling, only the other counts.
    assert ceilings.progress(Cost(90, 1200), Cost(10, 1100)) == pytest.approx(0.5)
    assert ceilings.progress(Cost(90, 900), Cost(10, 100)) == 0.0


def test_a_ceiling_within_reach_is_accepted() -> None:
    Ceilings(100, None).require_reachable(Cost(100, 10**9), Cost(200, 10**9), "of a reason")


def test_a_ceiling_out_of_reach_is_named_with_both_numbers() -> None:
    message = (
        r"prune\.max_macs 1,000 cannot be reached: pruned as far as it goes, the student still has 90 parameters and "
        r"1,234 multiply-accumulates \(now 200 parameters and 9,000 multiply-accumulates\), because of a reason\. "
        r"Raise prune\.max_macs to 1,234 or more"
    )
    with pytest.raises(InputError, match=message):
        Ceilings(100, 1000).require_reachable(Cost(90, 1234), Cost(200, 9000), "of a reason")


def test_the_pruned_model_is_counted_and_one_above_a_ceiling_is_a_defect() -> None:
    linear = nn.Linear(5, 7)
    assert Ceilings(42, 105).require_met(linear, _EXAMPLE) == Cost(42, 105)
    with pytest.raises(StageError, match=r"the pruned Linear has 42 parameters and 105 .* ceilings are 41 and None"):
        Ceilings(41, None).require_met(linear, _EXAMPLE)
