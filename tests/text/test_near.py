import numpy as np

from pipeline.text.near import seen_before

_WORDS = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]


def _text(start: int, count: int) -> str:
    return " ".join(_WORDS[start : start + count])


def test_a_copy_in_other_letters_digits_and_spacing_is_seen() -> None:
    first = _text(0, 100) + " in version 3"
    assert seen_before([first, first.upper().replace(" ", "\n  ").replace("3", "7")]).tolist() == [0.0, 1.0]


def test_half_a_copy_is_seen_by_half() -> None:
    shares = seen_before([_text(0, 200), _text(100, 200), _text(400, 200)])
    assert 0.3 < shares[1] < 0.7
    assert shares[2] == 0.0


def test_short_texts_are_compared_whole() -> None:
    assert seen_before(["one two", "two one", "One  two", ""]).tolist() == [0.0, 0.0, 1.0, 0.0]


def test_no_texts_have_no_shares() -> None:
    assert np.array_equal(seen_before([]), np.zeros(0))
