"""From tokens to text as they come: never half a character, and nothing that a stop string might take back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.runtime.errors import RuntimeInputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextStream:
    """Collects tokens and gives the text that is certain.

    Attributes:
        is_stopped: whether a stop string has been found; what comes behind it is dropped.
    """

    def __init__(self, tokenizer: "Tokenizer", before: Sequence[int], stop: Sequence[str] = ()) -> None:
        """Begin a text.

        Args:
            tokenizer: of the model.
            before: the tokens that stand before the first one; how a token reads may depend on them.
            stop: texts that end it.

        Raises:
            RuntimeInputError: a stop string is empty.
        """
        from tokenizers.decoders import DecodeStream

        if any(not text for text in stop):
            raise RuntimeInputError("a stop string is empty: every text would end at once; leave it out")
        self.is_stopped = False
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._stream = DecodeStream(ids=list(before), skip_special_tokens=True)
        self._held = ""

    def push(self, token: int) -> str:
        """Take the next token; the text that is certain now, often that of the token, sometimes nothing."""
        # None: the token ends within a character.
        self._held += self._stream.step(self._tokenizer, token) or ""
        places = [place for text in self._stop if (place := self._held.find(text)) >= 0]
        if places:
            self.is_stopped = True
            self._held = self._held[: min(places)]
        return self._release(0 if self.is_stopped else self._uncertain())

    def finish(self) -> str:
        """The text that was held back, at the end; half a character is dropped."""
        return self._release(0)

    def _uncertain(self) -> int:
        """How many characters at the end could be the start of a stop string."""
        longest = max((len(text) for text in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(text.startswith(end) for text in self._stop):
                return length
        return 0

    def _release(self, keep: int) -> str:
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        return certain
