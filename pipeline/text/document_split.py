"""Splitting whole documents by group into training, validation and held-out ones, and keeping them as files."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.layout import REPORT
from pipeline.text import storage
from pipeline.text.documents import Whole
from pipeline.text.near import seen_before
from pipeline.text.split import assign, key

# A training document of which earlier ones hold this much teaches next to nothing.
_MAX_SEEN_IN_TRAINING = 0.8
# An evaluation document of which the training documents hold this much measures memory.
_MAX_SEEN_IN_EVALUATION = 0.5
# A shorter one tells how texts begin, and next to nothing of how they go on.
_MIN_JUDGED_BYTES = 100


@dataclass(frozen=True)
class DocumentSizes:
    """How much goes where.

    Attributes:
        holdout_fraction: share of the bytes whose groups are for validation and evaluation.
        train_bytes: to train on at most, UTF-8.
        validation_documents: at most.
        heldout_documents: at most, as evenly from the groups as they allow.
    """

    holdout_fraction: float
    train_bytes: int
    validation_documents: int
    heldout_documents: int


@dataclass(frozen=True)
class Documents:
    """The documents of each split, and the groups that they were chosen from."""

    train: tuple[Whole, ...]
    validation: tuple[Whole, ...]
    heldout: tuple[Whole, ...]
    groups: dict[str, tuple[str, ...]]

    def cut(self, judged_bytes: int) -> "Documents":
        """The same with validation and held-out documents cut, so that models with other tokens read the same."""
        return replace(
            self,
            validation=tuple(one.cut(judged_bytes) for one in self.validation),
            heldout=tuple(one.cut(judged_bytes) for one in self.heldout),
        )


def split_documents(documents: Sequence[Whole], sizes: DocumentSizes, seed: int, where: str) -> Documents:
    """Deduplicate documents, exactly and nearly, and split them by group.

    An evaluation document of which half stands in documents of training groups is dropped, whether the training set
    has room for those or not.

    Raises:
        InputError: there is nothing to train on, or less than two documents to evaluate or to validate on.
    """
    distinct = list({key(one.text): one for one in reversed(documents)}.values())[::-1]
    counts: dict[str, int] = defaultdict(int)
    for one in distinct:
        counts[one.group] += len(one.text.encode())
    names = assign(counts, sizes.holdout_fraction, seed)
    random.Random(seed).shuffle(distinct)
    train, validation, heldout = ([one for one in distinct if one.group in part] for part in names)
    seen = seen_before([one.text for one in (*train, *validation, *heldout)])
    fresh = [one for one, share in zip(train, seen, strict=False) if share < _MAX_SEEN_IN_TRAINING]
    judged = [
        one
        for one, share in zip((*validation, *heldout), seen[len(train) :], strict=True)
        if share < _MAX_SEEN_IN_EVALUATION and len(one.text.encode()) >= _MIN_JUDGED_BYTES
    ]
    found = Documents(
        _first_bytes(fresh, sizes.train_bytes),
        _evenly([one for one in judged if one.group in names[1]], sizes.validation_documents),
        _evenly([one for one in judged if one.group in names[2]], sizes.heldout_documents),
        {label: tuple(sorted(part)) for label, part in zip(("train", "validation", "heldout"), names, strict=True)},
    )
    _check(found, where)
    return found


def save(documents: Documents, folder: Path) -> None:
    """Write train.jsonl, validation.jsonl, heldout.jsonl and report.json into an existing folder."""
    parts = ((storage.TRAIN, documents.train), (storage.VALIDATION, documents.validation))
    for name, part in (*parts, (storage.HELDOUT, documents.heldout)):
        storage.write_rows(folder / name, ({"group": one.group, "text": one.text} for one in part))
    report = {
        f"{split}_{unit}": count
        for split in ("train", "validation", "heldout")
        for unit, count in _counts(getattr(documents, split)).items()
    }
    write_json(folder / REPORT, {**report, "groups": {split: list(names) for split, names in documents.groups.items()}})


def load(path: Path) -> list[Whole]:
    """The documents of one file that `save` wrote.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    return [Whole(row["group"], row["text"]) for row in storage.read_rows(path, {"group", "text"})]


def _first_bytes(documents: Sequence[Whole], limit: int) -> tuple[Whole, ...]:
    total, kept = 0, []
    for one in documents:
        size = len(one.text.encode())
        if total + size <= limit:
            kept.append(one)
            total += size
    return tuple(kept)


def _evenly(documents: Sequence[Whole], limit: int) -> tuple[Whole, ...]:
    """The first document of each group, then the second of each, up to `limit`."""
    turns: dict[str, int] = defaultdict(int)
    order = []
    for one in documents:
        order.append(turns[one.group])
        turns[one.group] += 1
    chosen = sorted(range(len(documents)), key=lambda i: order[i])[:limit]
    return tuple(documents[i] for i in chosen)


def _counts(documents: Sequence[Whole]) -> dict[str, int]:
    return {"documents": len(documents), "bytes": sum(len(one.text.encode()) for one in documents)}


def _check(found: Documents, where: str) -> None:
    needed = {"train": 1, "validation": 2, "heldout": 2}
    problems = [
        f"{split}: {len(getattr(found, split))} documents, at least {count} needed"
        for split, count in needed.items()
        if len(getattr(found, split)) < count
    ]
    if problems:
        raise InputError(
            f"{where} gives too little text after deduplication and splitting:\n  " + "\n  ".join(problems)
        )
