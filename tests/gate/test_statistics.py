"""The rules of judging on values that can be checked by hand."""

import numpy as np
import pytest

from pipeline.gate.statistics import judge_upper_bound, paired_speed_ratio
from pipeline.records.verdict import Outcome


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([7.0, 8.0, 30.0], Outcome.PASS),  # the median is within, whatever noise did to the third
        ([7.9, 9.0, 30.0], Outcome.INCONCLUSIVE),  # one quiet block was within
        ([8.1, 9.0, 30.0], Outcome.FAIL),
        ([8.0], Outcome.PASS),
        ([8.1], Outcome.FAIL),
    ],
)
def test_upper_bound_of_8(blocks: list[float], expected: Outcome) -> None:
    assert judge_upper_bound(blocks, 8.0) is expected


def test_speed_ratio_cancels_noise_that_both_share() -> None:
    noise = np.array([1.0, 5.0, 2.0, 9.0, 1.1])
    assert paired_speed_ratio(list(0.6 * noise), list(0.3 * noise)) == pytest.approx(2.0)


def test_speed_ratio_of_unequal_blocks_uses_medians() -> None:
    assert paired_speed_ratio([4.0, 6.0, 8.0], [2.0, 4.0]) == pytest.approx(2.0)
