"""Documents as a language model reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline.layout import GENERATION, TOKENIZER
from pipeline.records.generation import Generation
from pipeline.text import document_split
from pipeline.text.tokens import load_tokenizer


@dataclass(frozen=True)
class Prepared:
    """A text as a model reads it.

    Attributes:
        ids: the start token and the text's own, int32 `[n]`; each but the first is foretold.
        byte_count: bytes in UTF-8 of what is foretold.
        group: what it was taken from, such as a package; intervals are over groups.
    """

    ids: NDArray[np.int32]
    byte_count: int
    group: str = ""


def prepare(text: str, tokenizer: Tokenizer, start: int, max_tokens: int, group: str = "") -> Prepared:
    """A text behind the start token, cut to at most `max_tokens`, the start included; a cut halves no character."""
    encoded = tokenizer.encode(text, add_special_tokens=False)
    ids, count = encoded.ids, max_tokens - 1
    if len(ids) <= count:
        return Prepared(np.array([start, *ids], np.int32), len(text.encode()), group)
    # A token that holds a part of a character has the offsets of all of it.
    ends = [0, *(end for _, end in encoded.offsets)]
    while count and encoded.offsets[count][0] < ends[count]:
        count -= 1
    return Prepared(np.array([start, *ids[:count]], np.int32), len(text[: ends[count]].encode()), group)


def read_prepared(path: Path, model: Path, max_tokens: int) -> Iterator[Prepared]:
    """The documents of a file.

    Args:
        path: what `document_split.save` wrote.
        model: the folder with the model's tokenizer and generation.json.
        max_tokens: see `prepare`.
    """
    tokenizer, start = load_tokenizer(model / TOKENIZER), Generation.read(model / GENERATION).start
    for one in document_split.load(path):
        yield prepare(one.text, tokenizer, start, max_tokens, one.group)
