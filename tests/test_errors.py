import pytest

from pipeline.errors import listed


@pytest.mark.parametrize(
    ("most", "shown"),
    [(1, ["a", "and 2 more"]), (2, ["a", "b", "and 1 more"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])],
)
def test_long_lists_of_problems_are_cut_and_say_so(most: int, shown: list[str]) -> None:
    assert listed(["a", "b", "c"], most) == shown
