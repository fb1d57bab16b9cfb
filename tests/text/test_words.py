from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pipeline.text.documents import Whole
from pipeline.text.words import read_spelling, suggest
from pipeline.text.writing import Tally, beginning, figures, interval, measure_bits, measure_words, type_word

_S = "\u0120"
_TOKENS = ["<|endoftext|>", _S, "a", "b", "c", ".", f"{_S}a", f"{_S}b", "bc", f"{_S}ab", "ca"]


def _tokenizer() -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(_TOKENS)}
    merges = [(_S, "a"), (_S, "b"), ("b", "c"), (f"{_S}a", "b"), ("c", "a")]
    made = Tokenizer(models.BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    return made


def _follow(before: Sequence[int]) -> np.ndarray:
    """Behind a space-a come b, c or the end of the word; behind anything else a word or a point."""
    shares = np.full(len(_TOKENS), 1e-6)
    if before[-1] == _TOKENS.index(f"{_S}a"):
        shares[[_TOKENS.index(token) for token in ("b", "c", ".", "bc")]] = 0.2, 0.5, 0.2, 0.1
    elif before[-1] == _TOKENS.index("."):
        shares[[_TOKENS.index(token) for token in (f"{_S}a", f"{_S}ab", f"{_S}b")]] = 0.6, 0.3, 0.1
    else:
        shares[_TOKENS.index(".")] = 1.0
    return np.log(shares / shares.sum()).astype(np.float32)


_START = [_TOKENS.index(".")]


def test_words_are_suggested_by_the_probability_of_the_whole_word() -> None:
    # ab 0.3 as one token and 0.12 as two, which are spelled the same; ac 0.3; a alone 0.12; b 0.1.
    assert suggest(_follow, _START, read_spelling(_tokenizer()), 3) == ["ab", "ac", "a"]


def test_suggestions_begin_with_what_is_typed() -> None:
    spelling = read_spelling(_tokenizer())
    assert suggest(_follow, _START, spelling, 3, "a") == ["ab", "ac", "a"]
    assert suggest(_follow, _START, spelling, 3, "ab")[:2] == ["ab", "abc"]
    assert suggest(_follow, _START, spelling, 3, "b")[0] == "b"
    assert suggest(_follow, _START, spelling, 3, "z") == []


def test_a_word_is_chosen_as_soon_as_it_is_shown() -> None:
    spelling = read_spelling(_tokenizer())
    assert type_word("ab", _START, _follow, spelling) == Tally(words=1, top_1=1, top_3=1, keystrokes=3, keys=1)
    assert type_word("a", _START, _follow, spelling) == Tally(words=1, top_3=1, keystrokes=2, keys=1)
    assert type_word("abc", _START, _follow, spelling) == Tally(words=1, keystrokes=4, keys=3)
    assert type_word("zz", _START, _follow, spelling) == Tally(words=1, keystrokes=3, keys=3)


def test_words_behind_a_space_are_measured_by_group() -> None:
    documents = [Whole("x", "a. ab a1 ab"), Whole("y", "\nab"), Whole("x", "b. ac_a")]
    found = measure_words(documents, _tokenizer(), _follow, start=0, max_words=9)
    assert {group: tally.words for group, tally in found.items()} == {"x": 2}
    assert found["x"].top_1 == 1


def test_bits_are_counted_by_group() -> None:
    documents = [Whole("x", "ab"), Whole("y", "abc"), Whole("x", "a")]
    found = measure_bits(documents, _tokenizer(), lambda ids: np.full(len(ids), np.log(0.5)))
    assert found == {"x": Tally(bits=3.0, bytes=3), "y": Tally(bits=2.0, bytes=3)}
    assert figures(found["y"]).bits_per_byte == 2 / 3


def test_a_text_is_cut_between_characters() -> None:
    assert beginning("aé", 2) == "a"


def test_an_interval_of_a_difference_is_paired_by_group() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(50, 200, size=40)
    bits = sizes * rng.uniform(1, 3, size=40)
    one = {f"g{i}": Tally(bits=float(bits[i]), bytes=int(sizes[i])) for i in range(40)}
    other = {name: Tally(bits=1.1 * tally.bits, bytes=tally.bytes) for name, tally in one.items()}
    ratio = interval([one, other], lambda both: both[1].bits_per_byte / both[0].bits_per_byte, seed=1)
    assert np.allclose(ratio, 1.1)
    level, low, high = interval([one], lambda figures: figures[0].bits_per_byte, seed=1)
    assert low < level < high
    assert np.isclose(level, bits.sum() / sizes.sum())
