"""Labelling many texts in processes, part by part; each part is a file, so that a killed run goes on where it was."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.compress.tokens.alignment import Aligned
from pipeline.compress.tokens.labels import Labels, Score, Sparsity, join, label
from pipeline.processes import die_with_parent
from pipeline.progress import track

# Teacher tokens of a part: about twenty seconds of one core, which is what a kill can cost.
_PART_TOKENS = 16_384


@dataclass(frozen=True)
class Labelling:
    """What decides the labels of a text.

    Attributes:
        teacher: opens the teacher in a worker, which keeps it; picklable, such as a `partial`.
        teacher_name: tells its weights and precision from any other's, such as a checksum.
        first: `pipeline.text.bpe.first_pieces`, int64 `[teacher's vocabulary]`.
        vocabulary: tokens of the student.
        seed: of the draws.
    """

    teacher: Callable[[], Score]
    teacher_name: str
    first: NDArray[np.int64]
    vocabulary: int
    sparsity: Sparsity
    seed: int


@dataclass(frozen=True)
class _Part:
    path: Path
    key: str
    number: int
    texts: Sequence[Aligned]

    @property
    def tokens(self) -> int:
        return sum(len(one.teacher) for one in self.texts)


def label_all(texts: Sequence[Aligned], labelling: Labelling, folder: Path, processes: int) -> Labels:
    """Label texts, shortest first, and keep each finished part in `folder`.

    A part that an earlier run of the same texts and the same labelling left there is not computed again.

    Args:
        folder: of the parts; it is made.
        processes: workers, one thread each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = list(_parts(texts, labelling, folder))
    missing = [part for part in parts if _read(part) is None]
    arguments = (labelling, os.getpid())
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, arguments) as pool:
        done = pool.map(_label_part, missing)
        _show(done, [part.tokens for part in missing])
    return join([labels for part in parts if (labels := _read(part)) is not None])


def _show(done: Iterable[object], sizes: Sequence[int]) -> None:
    """Go through `done`, whose items have these sizes in tokens, and show the rate and the time left in tokens."""
    steps = (None for size, _ in zip(sizes, done, strict=True) for _ in range(size))
    for _ in track(steps, total=sum(sizes), label="labelling", unit="tokens"):
        pass


def _parts(texts: Sequence[Aligned], labelling: Labelling, folder: Path) -> Iterator[_Part]:
    """Texts of similar length together: they run in one batch with little padding."""
    ordered = sorted(texts, key=lambda one: len(one.teacher))
    taken: list[Aligned] = []
    number = size = 0
    for one in ordered:
        taken.append(one)
        size += len(one.teacher)
        if size >= _PART_TOKENS or one is ordered[-1]:
            yield _Part(folder / f"part-{number:05}.npz", _key(taken, labelling), number, tuple(taken))
            taken, size, number = [], 0, number + 1


def _key(texts: Sequence[Aligned], labelling: Labelling) -> str:
    """What the labels of a part depend on."""
    digest = hashlib.sha256(f"{labelling.teacher_name} {labelling.sparsity} {labelling.seed}".encode())
    digest.update(labelling.first.tobytes())
    for one in texts:
        digest.update(one.teacher.tobytes() + one.student.tobytes())
    return digest.hexdigest()


def _read(part: _Part) -> Labels | None:
    """The finished labels of a part; `None` where there are none, or others."""
    try:
        with np.load(part.path) as arrays:
            if str(arrays["key"]) != part.key:
                return None
            return Labels(**{name: arrays[name] for name in Labels.__dataclass_fields__})
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


_labelling: Labelling


def _start_worker(labelling: Labelling, parent: int) -> None:
    global _labelling
    # A worker of a killed run would go on with all the parts that were handed out.
    die_with_parent(parent)
    _labelling = labelling
    torch.set_num_threads(1)


@lru_cache(maxsize=1)
def _teacher() -> Score:
    return _labelling.teacher()


def _label_part(part: _Part) -> None:
    rng = np.random.default_rng([_labelling.seed, part.number])
    labels = label(part.texts, _teacher(), _labelling.first, _labelling.vocabulary, _labelling.sparsity, rng)
    partial = part.path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as stream:
        np.savez(stream, key=part.key, **{name: getattr(labels, name) for name in Labels.__dataclass_fields__})
    partial.replace(part.path)
