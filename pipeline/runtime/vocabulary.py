"""A generator's tokenizer: text to tokens, and what each token says."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.texts import checked, open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Vocabulary:
    """Texts as token ids.

    Attributes:
        tokenizer: reads special tokens such as `<|im_end|>` as the characters that they are written with, so that no
            text can end a turn or begin another one.
        special: id of each special token by its text.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self.tokenizer = tokenizer
        self.special = {
            token.content: number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special
        }
        tokenizer.encode_special_tokens = True

    @classmethod
    def open(cls, path: Path) -> "Vocabulary":
        """Load tokenizer.json; for errors see `texts.open_tokenizer`."""
        return cls(open_tokenizer(path))

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, none of them special.

        Raises:
            RuntimeInputError: it is empty, no str, no valid Unicode, or binary.
        """
        if (place := checked(text).find("\0")) >= 0:
            raise RuntimeInputError(f"{text!r:.80} is binary: character {place + 1} is NUL")
        ids = self._encode(text)
        if not ids:
            raise RuntimeInputError(f"{text!r:.80} has no tokens: at least one character is needed")
        return ids

    def encode_within(self, before: str, text: str, behind: str) -> list[int]:
        """The tokens of a text with pieces of a template around it, in which special tokens are meant as such.

        Between two special tokens all is read together, as it would be if the template were filled in first.
        """
        found: list[int] = []
        plain = ""
        for part, is_special in (*self._parts(before), (text, False), *self._parts(behind)):
            if is_special:
                found += [*self._encode(plain), self.special[part]]
                plain = ""
            else:
                plain += part
        return found + self._encode(plain)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        text: str = self.tokenizer.decode(list(ids))
        return text

    def starting_with(self, token: int) -> NDArray[np.int64]:
        """The ids of all tokens that begin as `token` does, itself included and special ones not; sorted."""
        pieces, ids = self._sorted
        piece: str = self._pieces[token]
        # Behind everything that begins with the piece.
        last = piece + chr(0x10FFFF)
        return np.sort(ids[bisect_left(pieces, piece) : bisect_right(pieces, last)])

    @cached_property
    def texts(self) -> list[str]:
        """What each token adds to a text, by id.

        Bytes that are no whole character are the replacement character, and special tokens are empty.
        """
        size = self.tokenizer.get_vocab_size()
        # Some decoders drop a space at the start of a text, so each token is read behind another one.
        anchor = next((number for letter in "axe." if (number := self.tokenizer.token_to_id(letter)) is not None), None)
        if anchor is None:
            return list(self.tokenizer.decode_batch([[number] for number in range(size)]))
        start = len(self.decode([anchor]))
        return [text[start:] for text in self.tokenizer.decode_batch([[anchor, number] for number in range(size)])]

    @cached_property
    def _pieces(self) -> dict[int, str]:
        """How tokenizer.json writes each token, special ones left out."""
        named = self.tokenizer.get_vocab().items()
        return {number: piece for piece, number in named if piece not in self.special}

    @cached_property
    def _sorted(self) -> tuple[list[str], NDArray[np.int64]]:
        ids = sorted(self._pieces, key=self._pieces.__getitem__)
        return [self._pieces[number] for number in ids], np.array(ids, np.int64)

    def _parts(self, template: str) -> list[tuple[str, bool]]:
        """The pieces of a template, and whether each is a special token."""
        if not self.special:
            return [(template, False)]
        longest_first = sorted(self.special, key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", template)
        return [(part, part in self.special) for part in parts]

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids) if text else []
