import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.compress.tokens import labelling
from pipeline.compress.tokens.labelling import Labelling, label_all
from pipeline.compress.tokens.labels import Labels, Sparsity
from pipeline.compress.tokens.teachers import open_decoder

from .conftest import aligned_texts


def _labelling(folder: Path) -> Labelling:
    return Labelling(partial(open_decoder, folder), "tiny", np.arange(40) % 20, 20, Sparsity(4, 2), seed=1)


def _same(one: Labels, other: Labels) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Labels.__dataclass_fields__)


def test_a_killed_run_goes_on_where_it_was(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "_PART_TOKENS", 60)
    texts, parts = aligned_texts(12), tmp_path / "parts"
    whole = label_all(texts, _labelling(teacher_folder), parts, processes=1)
    assert sorted(len(text) for text in (one.student for one in texts)) == np.diff(whole.offsets).tolist()
    files = sorted(parts.glob("*.npz"))
    assert len(files) > 2
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])
    kept = files[2].stat().st_mtime_ns
    assert _same(label_all(texts, _labelling(teacher_folder), parts, processes=1), whole)
    assert files[2].stat().st_mtime_ns == kept
    # All parts are there: the teacher is not opened.
    shutil.rmtree(teacher_folder)
    assert _same(label_all(texts, _labelling(teacher_folder), parts, processes=1), whole)


def test_parts_of_another_labelling_are_not_taken(teacher_folder: Path, tmp_path: Path) -> None:
    texts, first = aligned_texts(3), _labelling(teacher_folder)
    one = label_all(texts, first, tmp_path / "parts", processes=1)
    other = label_all(texts, replace(first, sparsity=Sparsity(5, 2)), tmp_path / "parts", processes=1)
    assert (one.ids.shape[1], other.ids.shape[1]) == (6, 7)
