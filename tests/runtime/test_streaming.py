"""From tokens to text as they come."""

import pytest

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.streaming import TextStream
from tests.runtime import tiny_texts

TEXT = "Größe 文字列 the number\n"


def _pieces(text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    vocabulary = tiny_texts.vocabulary()
    stream = TextStream(vocabulary.tokenizer, [tiny_texts.START], stop)
    pieces = []
    for token in vocabulary.encode(text):
        pieces.append(stream.push(token))
        if stream.is_stopped:
            break
    return [*pieces, stream.finish()], stream.is_stopped


def test_every_piece_is_whole_characters_and_all_together_are_the_text() -> None:
    pieces, stopped = _pieces(TEXT)
    assert "".join(pieces) == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    # Characters of several tokens make empty pieces until they are whole.
    assert "" in pieces[:-1]
    assert not stopped


def test_half_a_character_at_the_end_is_dropped() -> None:
    vocabulary = tiny_texts.vocabulary()
    stream = TextStream(vocabulary.tokenizer, [])
    first = vocabulary.encode("列")[0]
    assert [stream.push(vocabulary.encode("x")[0]), stream.push(first), stream.finish()] == ["x", "", ""]


def test_special_tokens_write_nothing() -> None:
    stream = TextStream(tiny_texts.vocabulary().tokenizer, [])
    assert stream.push(tiny_texts.TURN) + stream.finish() == ""


def test_a_stop_string_ends_the_text_wherever_tokens_cut_it() -> None:
    for stop in ("num", "umb", " the n", "列", "er\n"):
        pieces, stopped = _pieces(TEXT, (stop,))
        assert "".join(pieces) == TEXT[: TEXT.index(stop)]
        assert stopped


def test_the_first_of_several_stop_strings_counts() -> None:
    assert "".join(_pieces(TEXT, ("number", "the", "\n"))[0]) == "Größe 文字列 "


def test_what_could_begin_a_stop_string_is_held_back_and_given_when_it_does_not() -> None:
    vocabulary = tiny_texts.vocabulary()
    stream = TextStream(vocabulary.tokenizer, [], ("xyz!",))
    given = [stream.push(vocabulary.encode(letter)[0]) for letter in "axyxyq"]
    assert given == ["a", "", "", "xy", "", "xyq"]
    assert stream.push(vocabulary.encode("x")[0]) == ""
    assert stream.finish() == "x"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(RuntimeInputError, match="a stop string is empty"):
        TextStream(tiny_texts.vocabulary().tokenizer, [], ("a", ""))
