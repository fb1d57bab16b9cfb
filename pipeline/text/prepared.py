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
    """A text behind the start token, cut at `max_tokens`, the start included; one that fits is read whole."""
    encoded = tokenizer.encode(text, add_special_tokens=False)
    kept = encoded.ids[: max_tokens - 1]
    whole = len(kept) == len(encoded.ids)
    end = len(text) if whole or not kept else encoded.offsets[len(kept) - 1][1]
    return Prepared(np.array([start, *kept], np.int32), len(text[:end].encode()), group)


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
