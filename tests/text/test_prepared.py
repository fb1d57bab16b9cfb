"""Documents as a language model reads them: the start token first, and bytes of exactly what is foretold."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipeline.layout import GENERATION, TOKENIZER
from pipeline.records.generation import Generation
from pipeline.text.prepared import prepare, read_prepared
from tests.teacher import tiny_language_models as tiny

START = 1


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tiny.tokenizer()


def read(text: str, tokenizer: Tokenizer, max_tokens: int) -> tuple[list[int], int]:
    found = prepare(text, tokenizer, START, max_tokens)
    return found.ids.tolist(), found.byte_count


def test_a_text_that_fits_is_read_whole(tokenizer: Tokenizer) -> None:
    text = "The capital of France is Paris.\n"
    ids = tokenizer.encode(text).ids
    assert read(text, tokenizer, len(ids) + 1) == ([START, *ids], len(text))


def test_a_text_that_is_longer_is_cut_with_its_bytes(tokenizer: Tokenizer) -> None:
    text = "The capital of France is Paris, naïve or not."
    for max_tokens in range(2, 12):
        ids, byte_count = read(text, tokenizer, max_tokens)
        assert len(ids) == max_tokens
        assert byte_count == len(tokenizer.decode(ids[1:]).encode())


def test_a_cut_halves_no_character(tokenizer: Tokenizer) -> None:
    text = "a 日本"
    ids = tokenizer.encode(text).ids
    whole = len(tokenizer.encode("a ").ids)
    # Each of the two characters has three tokens, one a byte.
    assert len(ids) == whole + 6
    observed = [read(text, tokenizer, 1 + whole + more) for more in range(7)]
    kept = [0, 0, 0, 3, 3, 3, 6]
    assert observed == [([START, *ids[: whole + count]], 2 + count) for count in kept]


def test_only_the_start_is_read_where_nothing_else_fits(tokenizer: Tokenizer) -> None:
    assert read("The end.", tokenizer, 1) == ([START], 0)


def test_the_documents_of_a_file_keep_their_groups(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(tmp_path / TOKENIZER))
    Generation(start=START, end=(2,)).write(tmp_path / GENERATION)
    file = tmp_path / "heldout.jsonl"
    file.write_text('{"group": "a", "text": "The capital."}\n{"group": "b", "text": "It fails."}\n', encoding="utf-8")
    found = list(read_prepared(file, tmp_path, 64))
    assert [(one.group, one.byte_count) for one in found] == [("a", 12), ("b", 9)]
    assert [tokenizer.decode(one.ids[1:].tolist()) for one in found] == ["The capital.", "It fails."]
    assert [int(one.ids[0]) for one in found] == [START, START]
