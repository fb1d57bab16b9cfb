"""The verb generate: continuing, scoring and completing texts."""

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.runtime import Release
from pipeline.runtime.errors import RuntimeInputError, TamperedError
from pipeline.runtime.sampling import log_probabilities
from tests.runtime import tiny_texts

MakeRelease = Callable[..., Path]
PROMPT = "the number of"


def _ids(text: str) -> list[int]:
    return [tiny_texts.START, *tiny_texts.vocabulary().encode(text)]


def test_greedy_text_is_that_of_the_whole_model_token_for_token() -> None:
    generator = tiny_texts.generator(end=())
    answer = generator.generate(PROMPT, max_tokens=30)
    text = "".join(answer)
    expected = tiny_texts.greedy(_ids(PROMPT), 30)
    assert answer.ids == expected
    assert answer.ended == "limit"
    # The tiny model writes bytes that are no characters, too: what it leaves unfinished at the end is dropped.
    assert generator.vocabulary.decode(expected).rstrip("\ufffd") == text.rstrip("\ufffd")
    assert len(set(expected)) > 10, "a model that says one token again and again would prove nothing"


def test_text_comes_while_it_is_written() -> None:
    generator = tiny_texts.generator(end=())
    answer = generator.generate(PROMPT, max_tokens=30)
    assert next(answer)
    assert 0 < len(answer.ids) < 30
    assert answer.ended == ""


def test_an_end_token_ends_the_text_and_is_not_part_of_it() -> None:
    expected = tiny_texts.greedy(_ids(PROMPT), 12)
    end = expected[8]
    answer = tiny_texts.generator(end=(end,)).generate(PROMPT)
    assert len("".join(answer)) > 0
    assert answer.ids == expected[: expected.index(end)]
    assert answer.ended == "end"


def test_a_stop_string_ends_the_text() -> None:
    generator = tiny_texts.generator(end=())
    text = "".join(generator.generate(PROMPT, max_tokens=40))
    middle = len(text) // 2
    stop = text[middle : middle + 2]
    answer = generator.generate(PROMPT, max_tokens=40, stop=[stop, "never said"])
    assert "".join(answer) == text[: text.index(stop)]
    assert answer.ended == "stop"


def test_a_full_context_ends_the_text() -> None:
    answer = tiny_texts.generator(end=()).generate(PROMPT, max_tokens=1000)
    assert "".join(answer)
    assert answer.ended == "context"
    assert len(_ids(PROMPT)) + len(answer.ids) == tiny_texts.CONTEXT + 1
    assert answer.ids == tiny_texts.greedy(_ids(PROMPT), len(answer.ids))


def test_sampled_text_is_repeated_by_its_seed() -> None:
    generator = tiny_texts.generator()
    first, again, other = (
        "".join(generator.generate(PROMPT, temperature=1, top_p=0.9, seed=seed, max_tokens=20)) for seed in (3, 3, 4)
    )
    assert first == again != other


def test_what_prompts_share_is_read_once() -> None:
    session = tiny_texts.session()
    generator = tiny_texts.generator()
    generator._memory._session = session
    generator._memory._state = generator._memory._new_state()
    "".join(generator.generate("the number of rows", max_tokens=1))
    "".join(generator.generate("the number of columns", max_tokens=1))
    assert session.calls[0] == len(_ids("the number of rows"))
    assert session.calls[1] < session.calls[0]
    fresh = tiny_texts.generator().generate("the number of columns", max_tokens=20)
    again = generator.generate("the number of columns", max_tokens=20)
    assert list(again) == list(fresh)


def test_a_text_that_another_one_has_interrupted_cannot_go_on() -> None:
    generator = tiny_texts.generator(end=())
    first = generator.generate(PROMPT)
    next(first)
    "".join(generator.generate("the path", max_tokens=3))
    with pytest.raises(RuntimeInputError, match="another text was begun before this one ended"):
        "".join(first)


def test_the_longest_prompt_is_continued_and_a_longer_one_is_named_with_both_numbers() -> None:
    context = len(_ids(PROMPT))
    answer = tiny_texts.generator(context, end=()).generate(PROMPT)
    assert "".join(answer) is not None
    assert (len(answer.ids), answer.ended) == (1, "context")
    with pytest.raises(RuntimeInputError, match=rf"has {context - 1} tokens, and it may have {context - 2}: shorten"):
        tiny_texts.generator(context - 1).generate(PROMPT)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "has no tokens: at least one character is needed"),
        ("PK\x03\x04\0\0", {}, "is binary: character 5 is NUL"),
        (b"bytes", {}, "a text must be a str"),
        ("\udcff", {}, "not valid Unicode"),
        (PROMPT, {"stop": [""]}, "a stop string is empty"),
        (PROMPT, {"stop": "text"}, r"write stop=\[text\]"),
        (PROMPT, {"temperature": -1}, "temperature is -1"),
        (PROMPT, {"top_p": 0}, "top_p is 0"),
        (PROMPT, {"max_tokens": 0}, "max_tokens is 0: at least 1"),
        (PROMPT, {"drafts": "yes"}, "drafts is 'yes'"),
    ],
)
def test_wrong_input_is_named_before_anything_is_computed(prompt: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeInputError, match=message) as caught:
        tiny_texts.generator().generate(prompt, **options)
    assert caught.value.exit_code == 2


def test_special_tokens_in_a_text_are_text() -> None:
    ids = _ids("a<|end|>b")
    assert tiny_texts.END not in ids
    assert tiny_texts.vocabulary().decode(ids) == "a<|end|>b"


def _bits(ids: list[int]) -> float:
    rows = log_probabilities(tiny_texts.logits_of(ids[:-1]))
    return -float(rows[np.arange(len(ids) - 1), ids[1:]].sum()) / log(2)


def test_a_score_is_bits_per_byte_of_the_whole_text() -> None:
    text = "Größe der Datei"
    assert tiny_texts.generator().score(text) == pytest.approx(_bits(_ids(text)) / len(text.encode()), rel=1e-4)


def test_a_text_longer_than_the_context_is_scored_in_pieces() -> None:
    text = "Größe der Datei in Bytes; " * 3
    ids = _ids(text)[1:]
    pieces = [[tiny_texts.START, *ids[first : first + 16]] for first in range(0, len(ids), 16)]
    assert len(pieces) > 2
    expected = sum(_bits(piece) for piece in pieces) / len(text.encode())
    assert tiny_texts.generator(16).score(text) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("text", ["", "\0"])
def test_nothing_and_binary_text_have_no_score(text: str) -> None:
    with pytest.raises(RuntimeInputError):
        tiny_texts.generator().score(text)


def _rests(text: str, count: int) -> dict[str, float]:
    """Every rest of a word of one or two tokens and how probable it is, by reading the model anew for each."""
    vocabulary = tiny_texts.vocabulary()
    *kept, healed = _ids(text)
    texts = vocabulary.texts
    goes_on = [bool(one) and (one[0].isalnum() or one[0] in "_\ufffd") for one in texts]
    ends = [number for number, on in enumerate(goes_on) if not on]
    allowed = [n for n in range(len(texts)) if texts[n].startswith(texts[healed])]
    first = np.exp(log_probabilities(tiny_texts.logits_of(kept)[-1]))
    found: dict[str, float] = {}
    for token in allowed:
        share = first[token] / first[allowed].sum()
        second = np.exp(log_probabilities(tiny_texts.logits_of([*kept, token])[-1]))
        if rest := texts[token][len(texts[healed]) :]:
            found[rest] = found.get(rest, 0) + share * second[ends].sum()
    return dict(sorted(found.items(), key=lambda pair: -pair[1])[:count])


def test_candidates_begin_as_the_last_token_does_and_have_the_models_probability() -> None:
    generator = tiny_texts.generator()
    text = "the n"
    whole = _rests(text, 50)
    assert "umber" in whole, "the tokenizer has the whole word as one token, which only healing reaches"
    found = generator.complete(text, 40, max_tokens=2)
    shares = dict(found)
    assert shares["umber"] == pytest.approx(whole["umber"], rel=1e-3)
    assert [share for _, share in found] == sorted(shares.values(), reverse=True)
    assert all(rest and 0 < share < 1 for rest, share in found)


def test_a_whole_word_gets_as_many_candidates_as_a_begun_one() -> None:
    found = tiny_texts.generator().complete("the number", 4)
    assert len(found) == 4
    assert all(rest for rest, _ in found)


def test_a_word_behind_a_space_is_the_next_one() -> None:
    for rest, _ in tiny_texts.generator().complete("the ", 5, max_tokens=1):
        assert rest[0].isalnum() or rest[0] == "_" or rest[0] == "\ufffd"


def test_a_line_goes_on_over_words_and_has_no_line_break() -> None:
    found = tiny_texts.generator().complete("the ", 3, max_tokens=6, until="line")
    assert len(found) == 3
    assert not any("\n" in rest for rest, _ in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "0 candidates of at most 8 tokens"),
        ({"until": "page"}, "until is 'page': choose word or line"),
        ({"max_tokens": 95}, r"has 3 tokens; before 95 more it may have 1|has \d+ tokens, and before 95 more"),
    ],
)
def test_wrong_numbers_of_candidates_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeInputError, match=message):
        tiny_texts.generator().complete("the number", **options)


def test_a_release_generates_scores_and_completes(text_release: MakeRelease) -> None:
    release = Release.open(text_release(), "onnxruntime")
    assert list(release.generate(PROMPT, max_tokens=9)) == list(tiny_texts.generator().generate(PROMPT, max_tokens=9))
    assert release.score(PROMPT) == pytest.approx(tiny_texts.generator().score(PROMPT))
    assert [one.text for one in release.complete("the n", 2)] == [
        one.text for one in tiny_texts.generator().complete("the n", 2)
    ]
    with pytest.raises(RuntimeInputError, match=r"does not encode texts: it is there to generate \(causal_lm\)"):
        release.encode([PROMPT])


def test_a_release_of_another_verb_does_not_generate(make_release: MakeRelease) -> None:
    release = Release.open(make_release(), "onnxruntime")
    for call in (release.generate, release.score, release.complete, release.chat):
        with pytest.raises(RuntimeInputError, match="does not generate texts: it is there to encode"):
            call("text")


def test_a_damaged_manifest_is_named(text_release: MakeRelease) -> None:
    folder = text_release(end_tokens=[0, "two"])
    with pytest.raises(TamperedError, match=r"end_tokens is \[0, 'two'\], no whole numbers"):
        Release.open(folder, "onnxruntime")


def test_a_changed_chat_format_is_refused_before_it_is_read(text_release: MakeRelease) -> None:
    folder = text_release()
    (folder / "chat.json").write_text("{}")
    with pytest.raises(TamperedError, match=r"chat\.json has 2 bytes"):
        Release.open(folder, "onnxruntime")
