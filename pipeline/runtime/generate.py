"""The verb `generate`: a prompt is continued, a text is scored.

`tokens` knows token ids alone and is the one generator; everything that writes text consumes it.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.runtime.answer import MAX_TOKENS, Answer
from pipeline.runtime.chat_format import ChatFormat, read_chat_format
from pipeline.runtime.complete import Candidate, Completer, Until
from pipeline.runtime.drafts import Drafter, Drafts, drafted_tokens, drafter
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.golden_texts import continuations, differences, golden_prompts
from pipeline.runtime.manifest import Manifest
from pipeline.runtime.memory import Memory
from pipeline.runtime.sampling import GREEDY, Logits, Sampling, choose
from pipeline.runtime.score import bits_per_byte
from pipeline.runtime.session import Precision, Session
from pipeline.runtime.streaming import TextStream
from pipeline.runtime.vocabulary import Vocabulary

FP32 = Precision()
# How a token reads may depend on those before it: on so many at most.
_BEFORE = 8


def tokens(
    memory: Memory,
    prompt: Sequence[int],
    sampling: Sampling = GREEDY,
    *,
    stop: Collection[int] = (),
    rng: np.random.Generator | None = None,
    drafts: Drafter | None = None,
) -> Iterator[int]:
    """The tokens that follow a prompt, until the memory is full or a token of `stop` comes, which is not given.

    Args:
        memory: what it holds of the prompt already is not read again.
        prompt: at least one token, at most `memory.context`.
        sampling: how a token is chosen.
        stop: tokens that end a text.
        rng: for sampling; `None` takes one from the operating system's entropy.
        drafts: guesses several tokens at once; the text stays the same.

    Raises:
        RuntimeInputError: the prompt does not fit in, or another text was begun on this memory meanwhile.
    """
    rng = rng or np.random.default_rng()
    claim = memory.claim()
    logits = memory.follow(prompt)
    chosen = _plain(memory, logits, sampling, rng)
    for token in drafted_tokens(memory, logits, sampling, rng, drafts) if drafts else chosen:
        if token in stop:
            return
        yield token
        memory.require(claim)


def _plain(memory: Memory, logits: Logits, sampling: Sampling, rng: np.random.Generator) -> Iterator[int]:
    """See `drafted_tokens`; one call a token."""
    while True:
        token = choose(logits, sampling, rng, memory.ids)
        yield token
        if memory.is_full:
            return
        logits = memory.step(token)


class Generator:
    """Continues and scores texts on one engine; `Release.generate` and its neighbours are its public face.

    Attributes:
        vocabulary: the tokens.
        context: the most tokens that the state holds, prompt and answer together.
        chat_format: how conversations are written; `None` where the model does not chat.
    """

    def __init__(
        self,
        engine: str,
        session: Session,
        vocabulary: Vocabulary,
        *,
        context: int,
        start: int,
        end: Collection[int],
        chat_format: ChatFormat | None = None,
        precision: Precision = FP32,
    ) -> None:
        """Take parts that are ready.

        Args:
            engine: its name, for messages.
            session: of a decoder.
            vocabulary: the tokens.
            context: the most tokens that the state holds.
            start: the token before every text.
            end: tokens that end a text.
            chat_format: how conversations are written.
            precision: what the session computes in.
        """
        self.vocabulary, self.context, self.chat_format = vocabulary, context, chat_format
        self._engine, self._session, self._precision = engine, session, precision
        turn = () if chat_format is None else (vocabulary.special[chat_format.end_of_turn],)
        self._start, self._end = start, frozenset((*end, *turn))
        self._memory = self.new_memory()
        self._completer = Completer(self._memory, vocabulary, start)

    @classmethod
    def open(cls, manifest: Manifest, engine: str, session: Session) -> "Generator":
        """Load what makes texts ready.

        Raises:
            TamperedError: the manifest, the tokenizer or chat.json is damaged.
            EngineError: the package tokenizers is not installed, or the model carries no state.
        """
        vocabulary = Vocabulary.open(manifest.path(manifest.input_file))
        chat = manifest.facts.get("chat")
        return cls(
            engine,
            session,
            vocabulary,
            context=manifest.number("context"),
            start=manifest.number("start_token"),
            end=manifest.numbers("end_tokens"),
            chat_format=read_chat_format(manifest.path(chat), vocabulary.special) if chat else None,
            precision=manifest.engines[engine].precision,
        )

    def new_memory(self) -> Memory:
        """A memory of its own, for a text beside the others."""
        return Memory(self._engine, self._session, self.context)

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        drafts: Drafts = "none",
    ) -> Answer:
        """See `Release.generate`."""
        sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
        ids = self.prompt_ids(prompt)
        rng = np.random.default_rng(seed)
        return self.answer(self._memory, ids, max_tokens, sampling, rng, stop=stop, drafts=drafts)

    def answer(
        self,
        memory: Memory,
        prompt: Sequence[int],
        max_tokens: int,
        sampling: Sampling,
        rng: np.random.Generator,
        *,
        stop: Sequence[str] = (),
        drafts: Drafts = "none",
    ) -> Answer:
        """Begin the text that follows a prompt of tokens; nothing is computed before the first piece is taken."""
        if isinstance(stop, str):
            raise RuntimeInputError("stop takes a list of texts: write stop=[text]")
        if max_tokens < 1:
            raise RuntimeInputError(f"max_tokens is {max_tokens}: at least 1 is needed")
        stream = TextStream(self.vocabulary.tokenizer, prompt[-_BEFORE:], stop)
        found = tokens(memory, prompt, sampling, stop=self._end, rng=rng, drafts=drafter(drafts, self._precision))
        # The last token that is chosen need not be held.
        return Answer(found, stream, max_tokens, self.context - len(prompt) + 1)

    def prompt_ids(self, text: str) -> list[int]:
        """The tokens of a prompt, the start token first.

        Raises:
            RuntimeInputError: the text is empty or cannot be used, or has more tokens than the context.
        """
        ids = [self._start, *self.vocabulary.encode(text)]
        if len(ids) > self.context:
            # The start token takes one place.
            raise RuntimeInputError(
                f"the prompt has {len(ids) - 1} tokens, and it may have {self.context - 1}: shorten {text!r:.60}"
            )
        return ids

    def score(self, text: str) -> float:
        """See `Release.score`."""
        return bits_per_byte(self._memory, text, self.vocabulary.encode(text), self._start)

    def complete(self, text: str, count: int = 3, max_tokens: int = 8, until: Until = "word") -> list[Candidate]:
        """See `Release.complete`."""
        return self._completer.complete(text, count, max_tokens, until)

    def golden_inputs(self, examples: Sequence[str]) -> dict[str, Any]:
        """The prompts and their tokens."""
        return golden_prompts(examples, [self.prompt_ids(text) for text in examples])

    def golden_outputs(self, examples: Sequence[str]) -> dict[str, Any]:
        """Some logits behind each prompt, and the tokens that follow it."""
        return continuations(self._memory, [self.prompt_ids(text) for text in examples])

    def compare(self, golden: Mapping[str, Any]) -> list[str]:
        """One line for each prompt that is read differently; if none is, for each that is continued otherwise."""
        return differences(self._memory, [self.prompt_ids(text) for text in golden["prompts"]], golden, self._engine)

    def lines(self, inputs: Sequence[str], top: int) -> Iterator[str]:
        """Each text with what follows it by default; `top` is for products with several answers."""
        for text in inputs:
            yield answer_line(text, self.generate(text))


def answer_line(prompt: str, answer: Answer) -> str:
    """The JSON line of an answer, all of which is taken."""
    text = "".join(answer)
    found = {"prompt": prompt, "text": text, "tokens": len(answer.ids), "ended": answer.ended}
    return json.dumps(found, ensure_ascii=False)
