from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import students
from pipeline.compress.tokens.alignment import Aligned
from pipeline.compress.tokens.labels import Labels
from pipeline.students.decoder import Decoder, DecoderConfig


def tiny_decoder(vocabulary: int, seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(DecoderConfig(vocabulary, 16, 2, 2, 1, 8, 32, 10000.0, 1e-5, 64)).eval()


@pytest.fixture
def teacher_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "teacher"
    folder.mkdir()
    students.save_model(tiny_decoder(40), folder)
    return folder


def aligned_texts(count: int, seed: int = 0) -> list[Aligned]:
    """Texts whose tokens are the same to teacher and student, so that every position is paired."""
    rng = np.random.default_rng(seed)
    made = []
    for length in rng.integers(2, 30, size=count):
        ids = np.concatenate([[0], rng.integers(1, 20, size=length)]).astype(np.int32)
        made.append(Aligned(ids, ids, np.arange(length), np.arange(length)))
    return made


def certain_labels(texts: list[NDArray[np.int32]]) -> Labels:
    """Labels that say of each token but the last of a text what follows it."""
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    tokens = np.concatenate(texts)
    places = np.setdiff1d(np.arange(len(tokens)), offsets[1:] - 1)
    ids = tokens[places + 1][:, None].astype(np.uint16)
    return Labels(tokens, offsets, places, ids, np.ones(ids.shape, np.float16))
