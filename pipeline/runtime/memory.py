"""A decoder's state together with the tokens that it holds, so that what two prompts share is computed once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.sampling import Ids, Logits
from pipeline.runtime.session import Session, State

# The inputs of a decoder, as `pipeline.engines.decoders` names them.


class Memory:
    """What a decoder has read so far.

    Attributes:
        context: the most tokens that it can hold.
        claims: how often a text was begun on it; see `require`.
    """

    def __init__(self, engine: str, session: Session, context: int) -> None:
        self.context = context
        self.claims = 0
        self._engine, self._session = engine, session
        self._state = self._new_state()
        self._held = np.empty(context, np.int32)
        self._length = 0
        # Arrays of a step, which are made once: a step of a small model takes a tenth of a millisecond.
        self._token, self._position, self._first = (np.zeros(shape, np.int32) for shape in ((1, 1), (1,), (1,)))
        self._step = {TOKENS: self._token, POSITION: self._position, ROWS: self._first}

    @property
    def ids(self) -> Ids:
        """The tokens that it holds, int32 `[length]`; a view that the next call may change."""
        return self._held[: self._length]

    @property
    def is_full(self) -> bool:
        """Whether no further token fits in."""
        return self._length >= self.context

    def claim(self) -> int:
        """Begin a text: the number that `claims` has until another one begins."""
        self.claims += 1
        return self.claims

    def require(self, claim: int) -> None:
        """Refuse to go on with a text after another one was begun.

        Raises:
            RuntimeInputError: `claim` is not the last one.
        """
        if claim != self.claims:
            raise RuntimeInputError(
                "another text was begun before this one ended: take all of it first, or open the release twice"
            )

    def step(self, token: int) -> Logits:
        """Read one token; the logits behind it, float32 `[vocabulary]`.

        Raises:
            EngineError: the engine returned a wrong shape.
        """
        self._token[0, 0] = token
        self._position[0] = self._length
        logits: Logits = self._run(self._step, 1)[0]
        self._held[self._length] = token
        self._length += 1
        return logits

    def read(self, tokens: Sequence[int] | Ids, every: bool = False) -> Logits:
        """Read tokens that fit in.

        Args:
            tokens: at least one.
            every: give the logits behind each of them, and not only behind the last.

        Returns:
            float32 `[rows, vocabulary]`.

        Raises:
            RuntimeInputError: they do not fit in.
            EngineError: the engine returned a wrong shape.
        """
        count, start = len(tokens), self._length
        if start + count > self.context:
            raise RuntimeInputError(f"{start + count} tokens do not fit into a context of {self.context}")
        ids = np.asarray(tokens, np.int32)
        rows = np.arange(count, dtype=np.int32) if every else np.array([count - 1], np.int32)
        inputs = {TOKENS: ids[None], POSITION: np.array([start], np.int32), ROWS: rows}
        logits = self._run(inputs, len(rows))
        self._held[start : start + count] = ids
        self._length = start + count
        return logits

    def rewind(self, length: int) -> None:
        """Forget all behind the first `length` tokens."""
        if length < self._length:
            self._state.rewind(length)
            self._length = length

    def follow(self, prompt: Sequence[int] | Ids) -> Logits:
        """Hold `prompt` and nothing else, reading only what is not held already.

        Args:
            prompt: at least one token, at most `context`.

        Returns:
            The logits behind its last token, float32 `[vocabulary]`.
        """
        ids = np.asarray(prompt, np.int32)
        # The last token is always read: its logits are wanted.
        self.rewind(min(self.shared(ids), len(ids) - 1))
        logits: Logits = self.read(ids[self._length :])[0]
        return logits

    def shared(self, prompt: Sequence[int] | Ids) -> int:
        """How many tokens at the start of `prompt` it holds already."""
        length = min(len(prompt), self._length)
        differs = np.flatnonzero(self._held[:length] != np.asarray(prompt[:length], np.int32))
        return int(differs[0]) if len(differs) else length

    def _run(self, inputs: dict[str, NDArray[np.int32]], rows: int) -> Logits:
        try:
            logits = self._session.run(inputs, self._state)
        except BaseException:
            # Interrupted or failed in the middle: nobody knows what the state holds.
            self._state, self._length = self._new_state(), 0
            raise
        if logits.ndim != 2 or len(logits) != rows:
            shape = list(logits.shape)
            raise EngineError(f"{self._engine} returned logits of shape {shape}, expected [{rows}, vocabulary]")
        return logits

    def _new_state(self) -> State:
        state = self._session.new_state()
        if state is None:
            raise EngineError(f"{self._engine}: the model carries no state, so it cannot continue a text")
        return state
