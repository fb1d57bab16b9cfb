"""Teachers that label: a decoder in PyTorch, or a session of any engine."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipeline import students
from pipeline.compress.tokens.labels import Score
from pipeline.engines.decoders import POSITION, ROWS, TOKENS
from pipeline.runtime.session import Session
from pipeline.students.decoder import Decoder

# Large enough for full matrix kernels, small enough that the activations stay in the cache.
_BATCH_TOKENS = 1024


def open_decoder(folder: Path) -> Score:
    """A decoder that `students.save_model` wrote, in PyTorch and bf16."""
    return by_decoder(students.load_model(folder, Decoder).bfloat16())


def by_decoder(model: Decoder) -> Score:
    """A decoder in PyTorch, in the type of its weights; texts that follow each other run in one batch.

    Behind a text's end is padding, which no position before it sees.
    """

    def score(texts: Sequence[NDArray[np.int32]], rows: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for batch in _batches([len(text) for text in texts]):
            with torch.inference_mode():
                ids = nn.utils.rnn.pad_sequence([torch.from_numpy(texts[i]) for i in batch], batch_first=True)
                features = model.features(ids)
                logits = [
                    functional.linear(one[torch.from_numpy(rows[i])], model.head_weight).float().numpy()
                    for one, i in zip(features, batch, strict=True)
                ]
            yield from logits

    return score


def by_session(session: Session) -> Score:
    """A decoder in an engine, one text a call; see `pipeline.engines.decoders.decoder_spec`."""

    def score(texts: Sequence[NDArray[np.int32]], rows: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        state = session.new_state()
        start = np.zeros(1, np.int32)
        for tokens, wanted in zip(texts, rows, strict=True):
            if state is not None:
                state.rewind(0)
            yield session.run({TOKENS: tokens[None], POSITION: start, ROWS: wanted.astype(np.int32)}, state)

    return score


def _batches(lengths: Sequence[int]) -> Iterator[range]:
    """Runs of texts that fill at most `_BATCH_TOKENS` with padding, or of one."""
    start = longest = 0
    for index, length in enumerate(lengths):
        longest = max(longest, length)
        if index > start and longest * (index + 1 - start) > _BATCH_TOKENS:
            yield range(start, index)
            start, longest = index, length
    if lengths:
        yield range(start, len(lengths))
