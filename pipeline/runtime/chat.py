"""A conversation that keeps its state from turn to turn: only what is new is read."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.runtime.answer import MAX_TOKENS, Answer
from pipeline.runtime.chat_format import ChatFormat
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.sampling import GREEDY, Sampling

if TYPE_CHECKING:
    from pipeline.runtime.generate import Generator


@dataclass
class _Turn:
    """Tokens of a message with what stands around it, and of the answer as it was given."""

    asked: list[int]
    answered: list[int] = field(default_factory=list)


class Conversation:
    """Messages and answers; `Release.chat` begins one.

    Attributes:
        dropped: how many of the oldest turns the last message pushed out, because the context was full.
    """

    def __init__(self, generator: "Generator", form: ChatFormat, system: str | None, seed: int | None) -> None:
        self.dropped = 0
        self._vocabulary, self._form = generator.vocabulary, form
        self._memory = generator.new_memory()
        self._start = generator.answer
        self._rng = np.random.default_rng(seed)
        self._turns: list[_Turn] = []
        self._behind = self._vocabulary.encode_within("", "", form.assistant[1])
        self.reset(system)

    @property
    def fill(self) -> tuple[int, int]:
        """Tokens that the state holds, and the most that it can hold."""
        return len(self._memory.ids), self._memory.context

    def reset(self, system: str | None = None) -> None:
        """Forget all turns and take another system prompt; `None` takes the model's own.

        Raises:
            RuntimeInputError: the system prompt is empty or cannot be used.
        """
        if system is not None:
            self._vocabulary.encode(system)
        self._head = self._vocabulary.encode_within(*self._form.head(system))
        self._turns = []
        self.dropped = 0

    def say(self, message: str, *, sampling: Sampling = GREEDY, max_tokens: int = MAX_TOKENS) -> Answer:
        """Send a message.

        Args:
            message: of the user.
            sampling: how tokens are chosen.
            max_tokens: the most tokens of the answer. Turns are dropped so that a quarter of the context, or so many
                tokens if that is less, is left for it.

        Returns:
            The answer as it comes. It may be left before it ends: the conversation goes on from what was taken of it.

        Raises:
            RuntimeInputError: the message is empty, cannot be used, or is longer than the context allows.
        """
        self._vocabulary.encode(message)
        asked = self._vocabulary.encode_within(*self._form.ask(message))
        reserve = min(max_tokens, self._memory.context // 4)
        self._make_room(len(asked), reserve, message)
        turn = _Turn(asked)
        prompt = [*self._head, *(token for one in self._turns for token in [*one.asked, *one.answered, *self._behind])]
        answer = self._start(self._memory, [*prompt, *asked], max_tokens, sampling, self._rng)
        # The turn shares the answer's list, which grows as it is taken.
        turn.answered = answer.ids
        self._turns.append(turn)
        return answer

    def _make_room(self, new: int, reserve: int, message: str) -> None:
        """Drop the oldest turns if the new one does not fit in; then so many that half of the context is free.

        What stands behind a dropped turn moves and is read anew, which should not happen at every message.
        """
        self.dropped = 0
        allowed = self._memory.context - reserve
        if len(self._head) + new > allowed:
            most = allowed - len(self._head)
            raise RuntimeInputError(
                f"{message!r:.60} is too long: it has {new} tokens with the chat's own, and behind the system prompt a "
                f"context of {self._memory.context} leaves {max(most, 0)}"
            )
        if self._held() + new <= allowed:
            return
        while self._turns and self._held() + new > min(allowed, self._memory.context // 2):
            del self._turns[0]
            self.dropped += 1

    def _held(self) -> int:
        turns = sum(len(turn.asked) + len(turn.answered) + len(self._behind) for turn in self._turns)
        return len(self._head) + turns
