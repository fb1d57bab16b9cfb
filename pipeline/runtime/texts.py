"""Turns texts into tokens, and scores into hits. A device that takes images does without the package tokenizers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError, RuntimeInputError, TamperedError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Hit:
    """One line of a corpus found for a text; `score` is the cosine, `index` counts the corpus from 0."""

    rank: int
    score: float
    index: int


def open_tokenizer(path: Path, max_tokens: int | None = None) -> "Tokenizer":
    """Load tokenizer.json; it will cut at `max_tokens`, where there are such, and never pad.

    Raises:
        TamperedError: the file is no tokenizer.
        EngineError: the package is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise EngineError(f"{path} needs {error.name}, which is not installed: pip install tokenizers") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise TamperedError(f"{path} is no tokenizer ({error}): fetch the release again") from error
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)
    return tokenizer


def checked(text: str) -> str:
    """`text` itself.

    Raises:
        RuntimeInputError: it is no str, or no valid Unicode.
    """
    if not isinstance(text, str):
        raise RuntimeInputError(f"a text must be a str, and {text!r:.80} is {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RuntimeInputError(f"{text!r:.80} is not valid Unicode: {error}") from None
    return text


def batches(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Indices of texts of equal length, at most `batch` together: padding would change the scales of int8."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    start = 0
    for end in range(1, len(order) + 1):
        ends = end == len(order) or lengths[order[end]] != lengths[order[start]]
        if ends or end - start == batch:
            yield order[start:end]
            start = end


def best(scores: NDArray[np.float32], top: int) -> list[Hit]:
    """The `top` highest scores of float32 `[n]`, best first; ties keep their order."""
    order = np.argsort(-scores, kind="stable")[:top]
    return [Hit(rank, float(scores[index]), int(index)) for rank, index in enumerate(order, start=1)]
