import numpy as np
import pytest

from pipeline.params.blocks import Tolerance
from pipeline.verify.compare import Differences, compare

_STRICT = Tolerance(mean_cosine=0.999, max_abs_error=0.01)


def _unit(rows: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _spike(size: float) -> np.ndarray:
    """The same rows, but for one value: a large error that the mean cosine hardly shows."""
    given = _unit()
    given[2, 3] += size
    return given


def test_the_same_output_has_no_problems() -> None:
    result = compare(_unit(), _unit(), _STRICT)
    assert result.problems == ()
    assert result.mean_cosine == pytest.approx(1.0)
    assert result.max_abs_error == 0.0


def test_differences_are_measured() -> None:
    result = compare(_spike(0.005), _unit(), _STRICT)
    assert result.max_abs_error == pytest.approx(0.005, rel=1e-3)
    assert result.problems == ()


def test_a_large_error_alone_is_named() -> None:
    assert compare(_spike(0.05), _unit(), _STRICT).problems == ("largest absolute error 0.0500 > tolerance 0.01",)


def test_a_low_cosine_alone_is_named() -> None:
    wanted = np.array([[1, 0], [0, 1]], np.float32)
    given = np.array([[0.8, 0.6], [0, 1]], np.float32)
    tolerance = Tolerance(mean_cosine=0.95, max_abs_error=1.0)
    assert compare(given, wanted, tolerance).problems == ("mean cosine 0.90000 < tolerance 0.95",)


def test_both_tolerances_are_named_together() -> None:
    problems = compare(-_unit(), _unit(), _STRICT).problems
    assert len(problems) == 2
    assert problems[0] == "mean cosine -1.00000 < tolerance 0.999"
    assert problems[1].startswith("largest absolute error ")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_problems_without_numbers(value: float) -> None:
    given = _unit()
    given[1, 1] = value
    assert compare(given, _unit(), _STRICT) == Differences(None, None, ("the output holds NaN or infinity",))
