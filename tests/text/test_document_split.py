import random
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.text import document_split
from pipeline.text.document_split import Documents, DocumentSizes, split_documents
from pipeline.text.documents import Whole

_SIZES = DocumentSizes(0.3, train_bytes=20_000, validation_documents=5, heldout_documents=12)


def _documents(groups: int = 20, each: int = 10) -> list[Whole]:
    rng = random.Random(1)
    words = [f"{a}{b}x" for a in "abcdefgh" for b in "klmnopqr"]
    return [Whole(f"g{group}", " ".join(rng.choices(words, k=60))) for group in range(groups) for _ in range(each)]


def _split(documents: list[Whole]) -> Documents:
    return split_documents(documents, _SIZES, 3, "here")


def test_no_group_is_in_two_splits() -> None:
    found = _split(_documents())
    groups = [{one.group for one in part} for part in (found.train, found.validation, found.heldout)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    for part, name in zip(groups, ("train", "validation", "heldout"), strict=True):
        assert part <= set(found.groups[name])


def test_sizes_are_kept_and_held_out_documents_come_from_all_groups() -> None:
    found = _split(_documents())
    assert 15_000 < sum(len(one.text) for one in found.train) <= 20_000
    assert len(found.heldout) == 12
    assert {one.group for one in found.heldout} == set(found.groups["heldout"])


def test_copies_of_training_documents_are_not_held_out() -> None:
    documents = _documents()
    groups = _split(documents).groups
    outside = [one for one in documents if one.group in groups["heldout"]]
    copied = [Whole(groups["train"][0], f"{one.text} and more") for one in outside[::2]]
    found = split_documents([*documents, *copied], DocumentSizes(0.3, 10**6, 5, 99), 3, "here")
    trained = [one.text for one in (*documents, *copied) if one.group in found.groups["train"]]
    assert found.heldout
    assert not [one for one in found.heldout if any(one.text in text for text in trained)]


def test_training_documents_are_distinct() -> None:
    documents = _documents()
    doubled = [*documents, *(Whole(one.group, one.text.upper()) for one in documents)]
    assert len(_split(doubled).train) == len(_split(documents).train)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    found = _split(_documents())
    document_split.save(found, tmp_path)
    assert document_split.load(tmp_path / "heldout.jsonl") == list(found.heldout)


def test_too_little_text_is_refused() -> None:
    with pytest.raises(InputError, match="validation: 0 documents, at least 2"):
        _split(_documents(groups=1))
