"""Texts on each engine's own file of the tiny language model: the same as PyTorch's."""

from itertools import islice

import numpy as np
import pytest

from pipeline.engines.decoders import decoder_spec
from pipeline.engines.exporter import exporter
from pipeline.layout import SUFFIX, Engine
from pipeline.runtime.chat import Conversation
from pipeline.runtime.drafts import PromptLookup
from pipeline.runtime.generate import Generator, tokens
from pipeline.runtime.memory import Memory
from pipeline.runtime.session import Precision, Session, open_session
from tests.runtime import tiny_texts

PROMPT = "the number of"
_ATOL = 1e-3


@pytest.fixture(scope="module", params=list(Engine))
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The model's own file on each engine; with caches of two sizes, so that a text grows out of the first."""
    engine: Engine = request.param
    path = tmp_path_factory.mktemp(engine) / f"fp32{SUFFIX[engine]}"
    model = tiny_texts.decoder()
    spec = decoder_spec(model.config, [1, 8, 32], [32, tiny_texts.CONTEXT])
    exporter(engine).export(model, spec, path, toolchain={"opset": 20})
    return open_session(engine, path, 1, Precision(cache="f32"))


def _generator(session: Session) -> Generator:
    return Generator(
        "engine",
        session,
        tiny_texts.vocabulary(),
        context=tiny_texts.CONTEXT,
        start=tiny_texts.START,
        end=(),
        chat_format=tiny_texts.FORMAT,
    )


def test_greedy_text_to_the_end_of_the_context_is_pytorchs(session: Session) -> None:
    ours, theirs = _generator(session), tiny_texts.generator(end=())
    for prompt in (PROMPT, "x", "def read_csv(path, sep=','): read the file and return the number of rows"):
        answer, expected = (one.generate(prompt, max_tokens=500) for one in (ours, theirs))
        assert "".join(answer) == "".join(expected)
        assert answer.ids == expected.ids
        assert answer.ended == "context"


def test_logits_of_every_row_are_those_of_the_whole_text(session: Session) -> None:
    memory = Memory("engine", session, tiny_texts.CONTEXT)
    ids = [tiny_texts.START, *tiny_texts.vocabulary().encode(PROMPT * 4)][:50]
    given = np.concatenate([memory.read(ids[:7], every=True), memory.read(ids[7:], every=True)])
    np.testing.assert_allclose(given, tiny_texts.logits_of(ids), atol=_ATOL)


def test_a_prompt_that_shares_its_start_is_read_from_there(session: Session) -> None:
    memory = Memory("engine", session, tiny_texts.CONTEXT)
    ids = list(range(70, 110))
    memory.follow(ids)
    other = [*ids[:20], *range(200, 212)]
    np.testing.assert_allclose(memory.follow(other), tiny_texts.logits_of(other)[-1], atol=_ATOL)


def test_drafts_leave_the_text_as_it_is(session: Session) -> None:
    prompt = [tiny_texts.START, *tiny_texts.vocabulary().encode("the number, the number, the")]
    plain, drafted = (
        list(islice(tokens(Memory("engine", session, tiny_texts.CONTEXT), prompt, drafts=drafts), 60))
        for drafts in (None, PromptLookup(window=1))
    )
    assert drafted == plain


def test_scores_and_candidates_are_pytorchs(session: Session) -> None:
    ours, theirs = _generator(session), tiny_texts.generator()
    assert ours.score("Größe der Datei") == pytest.approx(theirs.score("Größe der Datei"), rel=1e-4)
    given, expected = (one.complete("the n", 3) for one in (ours, theirs))
    assert [one.text for one in given] == [one.text for one in expected]
    np.testing.assert_allclose([one.probability for one in given], [one.probability for one in expected], rtol=1e-2)


def test_a_conversation_over_dropped_turns_is_pytorchs(session: Session) -> None:
    ours, theirs = _generator(session), tiny_texts.generator(end=())
    conversations = [Conversation(one, tiny_texts.FORMAT, None, 0) for one in (ours, theirs)]
    for message in ("the number", "the path", "the row", "the file"):
        given, expected = ("".join(one.say(message, max_tokens=10)) for one in conversations)
        assert given == expected
        assert conversations[0].dropped == conversations[1].dropped


def test_copies_of_one_session_do_not_mix(session: Session) -> None:
    first, second = (Memory("engine", session, tiny_texts.CONTEXT) for _ in range(2))
    texts = [[0, 70, 80], [0, 90, 100]]
    streams = [tokens(one, text) for one, text in zip((first, second), texts, strict=True)]
    found = [[next(stream) for stream in streams] for _ in range(12)]
    for place, text in enumerate(texts):
        assert [row[place] for row in found] == tiny_texts.greedy(text, 12)
