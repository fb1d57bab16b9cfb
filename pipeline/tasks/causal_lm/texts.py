"""The texts of a model, as it reads them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.layout import TOKENIZER
from pipeline.runtime.generation import read_generation
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.text import document_split, storage
from pipeline.text.scoring import Prepared, prepare
from pipeline.text.tokens import load_tokenizer

# Tokens of a held-out text that are continued greedily.
_PROMPT = 24
_CALIBRATION_TEXTS, _CALIBRATION_TOKENS = 64, 128


def heldout(params: ModelParams, data: Path, model: Path) -> list[Prepared]:
    """Texts of packages that nothing was trained on, to judge quality on.

    Args:
        data: the folder with the split texts.
        model: the folder with the model's tokenizer.
    """
    return list(_prepared(data / storage.HELDOUT, model, params.data.judged_tokens))


def validation(params: ModelParams, data: Path, model: Path) -> list[Prepared]:
    """Texts of other such packages, to choose by; see `heldout`."""
    return list(_prepared(data / storage.VALIDATION, model, params.data.judged_tokens))


def prompts(params: ModelParams, data: Path, model: Path) -> list[NDArray[np.int32]]:
    """The first tokens of held-out texts, int32, for greedy continuations; see `heldout`."""
    return [text.ids[:_PROMPT] for text in heldout(params, data, model)[: params.verify.greedy_texts]]


def calibration(data: Path, model: Path) -> NDArray[np.int32]:
    """Beginnings of training texts, int32 `[n, tokens]`.

    Raises:
        InputError: no training text is long enough.
    """
    path = data / storage.TRAIN
    long = [text.ids for text in _prepared(path, model, _CALIBRATION_TOKENS) if len(text.ids) == _CALIBRATION_TOKENS]
    if not long:
        raise InputError(f"{path}: no text has {_CALIBRATION_TOKENS} tokens to calibrate on: give longer ones")
    return np.stack(long[:_CALIBRATION_TEXTS])


def _prepared(path: Path, model: Path, max_tokens: int) -> Iterator[Prepared]:
    tokenizer, start = load_tokenizer(model / TOKENIZER), read_generation(model).start
    for one in document_split.load(path):
        yield prepare(one.text, tokenizer, start, max_tokens, one.group)
