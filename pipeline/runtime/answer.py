"""One text on its way: tokens come, and text that is certain goes out."""

from collections.abc import Iterator
from typing import Literal

from pipeline.runtime.streaming import TextStream

# Tokens of an answer where the caller does not say.
MAX_TOKENS = 256

Ended = Literal["", "end", "stop", "limit", "context"]


class Answer(Iterator[str]):
    """Pieces of text as they come; `str.join` makes one text of them.

    Attributes:
        ids: the tokens that have come, without the one that ended the text.
        ended: why no more come: the model ended the text, a stop string or the limit of tokens was reached, or the
            context is full. Empty while more may come.
    """

    def __init__(self, tokens: Iterator[int], stream: TextStream, limit: int, room: int) -> None:
        """Consume tokens.

        Args:
            tokens: those of the text.
            stream: makes text of them.
            limit: the most tokens.
            room: after so many tokens the context is full.
        """
        self.ids: list[int] = []
        self.ended: Ended = ""
        self._tokens, self._stream, self._limit, self._room = tokens, stream, limit, room

    def __next__(self) -> str:
        while not self.ended:
            token = next(self._tokens, None)
            if token is None:
                self.ended = "context" if len(self.ids) >= self._room else "end"
                break
            self.ids.append(token)
            text = self._stream.push(token)
            if self._stream.is_stopped:
                self.ended = "stop"
            elif len(self.ids) == self._limit:
                self.ended = "limit"
            if text:
                return text
        if rest := self._stream.finish():
            return rest
        raise StopIteration
