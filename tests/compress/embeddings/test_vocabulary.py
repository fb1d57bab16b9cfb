from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from pipeline.compress.embeddings.vocabulary import indispensable, prune_tokenizer, rows_to_keep
from pipeline.errors import InputError
from pipeline.text.tokens import load_tokenizer, tokenize

_TEXTS = ["Read a CSV file.", "read the lines, then close it!", "read"]


@pytest.fixture
def tokenizer(minilm: Path) -> Tokenizer:
    return load_tokenizer(minilm / "tokenizer.json")


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    tokenizer.no_padding()
    tokens: list[str] = tokenizer.encode(text).tokens
    return tokens


def _kept(tokenizer: Tokenizer, min_count: int = 1, at_most: int | None = None) -> np.ndarray:
    rows = tokenizer.get_vocab_size()
    counts = np.bincount(tokenize(_TEXTS, tokenizer, 32).ids, minlength=rows)
    return rows_to_keep(counts, indispensable(tokenizer, rows), min_count, at_most)


def test_rows_that_occur_often_enough_stay(tokenizer: Tokenizer) -> None:
    read, lines, unused = (tokenizer.token_to_id(word) for word in ("read", "lines", "socket"))
    once, thrice, never = (set(_kept(tokenizer, count).tolist()) for count in (1, 3, 4))
    assert {read, lines} <= once
    assert read in thrice
    assert lines not in thrice
    assert read not in never
    assert unused not in once


def test_special_tokens_and_ascii_characters_stay_and_unused_rows_go(tokenizer: Tokenizer) -> None:
    kept = set(_kept(tokenizer).tolist())
    for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "z", "##z", "7", "##7", "~"):
        assert tokenizer.token_to_id(word) in kept
    assert tokenizer.token_to_id("[unused3]") not in kept
    assert len(kept) < 200


def test_rows_are_ascending_and_a_count_of_zero_keeps_all(tokenizer: Tokenizer) -> None:
    kept = _kept(tokenizer)
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(_kept(tokenizer, 0), np.arange(30522))


def test_the_rarest_rows_go_first_and_of_equals_the_highest_id() -> None:
    counts = np.array([5, 1, 0, 3, 1, 0, 9])
    needed = np.array([False, False, True, False, False, True, False])
    assert rows_to_keep(counts, needed, 1).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert rows_to_keep(counts, needed, 1, 7).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert rows_to_keep(counts, needed, 1, 6).tolist() == [0, 1, 2, 3, 5, 6]
    assert rows_to_keep(counts, needed, 0, 4).tolist() == [0, 2, 5, 6]
    assert rows_to_keep(counts, needed, 0, 2).tolist() == [2, 5]
    assert rows_to_keep(counts, needed, 4, 6).tolist() == [0, 2, 5, 6]


def test_with_few_rows_the_words_that_occur_most_are_left(tokenizer: Tokenizer) -> None:
    read, file = (tokenizer.token_to_id(word) for word in ("read", "file"))
    fewest = int(indispensable(tokenizer, tokenizer.get_vocab_size()).sum())
    kept = _kept(tokenizer, at_most=fewest + 1)
    assert len(kept) == fewest + 1
    assert read in kept
    assert file not in kept
    assert "[UNK]" not in _words(prune_tokenizer(tokenizer, kept), "close the file")


def test_no_row_of_another_kind_of_tokenizer_can_go() -> None:
    other = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    assert indispensable(other, 2).tolist() == [True, True]


def test_texts_of_kept_tokens_are_split_into_the_same_words(tokenizer: Tokenizer) -> None:
    kept = _kept(tokenizer)
    pruned = prune_tokenizer(tokenizer, kept)
    for text in _TEXTS:
        assert _words(pruned, text) == _words(tokenizer, text)
        np.testing.assert_array_equal(kept[pruned.encode(text).ids], tokenizer.encode(text).ids)


def test_a_dropped_word_of_ascii_characters_is_never_unknown(tokenizer: Tokenizer) -> None:
    pruned = prune_tokenizer(tokenizer, _kept(tokenizer))
    words = _words(pruned, "socket reading 2024")
    assert "[UNK]" not in words
    assert "".join(word.removeprefix("##") for word in words[1:-1]) == "socketreading2024"


def test_every_ascii_word_survives_the_smallest_vocabulary(tokenizer: Tokenizer) -> None:
    pruned = prune_tokenizer(tokenizer, _kept(tokenizer, 10**6))
    printable = " ".join(chr(code) * 2 for code in range(33, 127))
    assert "[UNK]" not in _words(pruned, printable)


def test_ids_are_renumbered_with_those_of_the_template(tokenizer: Tokenizer) -> None:
    kept = _kept(tokenizer)
    pruned = prune_tokenizer(tokenizer, kept)
    assert pruned.get_vocab_size() == len(kept)
    assert sorted(pruned.get_vocab().values()) == list(range(len(kept)))
    assert pruned.token_to_id("[PAD]") == 0
    ids = pruned.encode("read").ids
    start, end = pruned.token_to_id("[CLS]"), pruned.token_to_id("[SEP]")
    assert (ids[0], ids[-1]) == (start, end)
    assert start != 101
    assert _words(pruned, "read [SEP] a") == ["[CLS]", "read", "[SEP]", "a", "[SEP]"]


def test_keeping_all_rows_changes_nothing(tokenizer: Tokenizer) -> None:
    pruned = prune_tokenizer(tokenizer, np.arange(30522))
    assert pruned.encode("An unbelievable socket").ids == tokenizer.encode("An unbelievable socket").ids


def test_a_pruned_tokenizer_comes_back_from_its_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    pruned = prune_tokenizer(tokenizer, _kept(tokenizer))
    pruned.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path / "tokenizer.json").encode(_TEXTS[0]).ids == pruned.encode(_TEXTS[0]).ids


def test_another_kind_of_tokenizer_is_refused() -> None:
    other = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(InputError, match=r"a WordLevel tokenizer cannot be pruned.*vocabulary_min_count: 0"):
        prune_tokenizer(other, np.arange(2))
