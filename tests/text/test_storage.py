from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.files import read_json
from pipeline.text import storage
from pipeline.text.split import Corpus
from pipeline.text.texts import Passage

_CORPUS = Corpus(
    ("one", 'two "quoted"\nlines', "drei ß \u2028"),
    ("four",),
    ("five", "six"),
    (Passage("seven", "eight"),),
    {"train": ("a", "b"), "validation": ("c",), "heldout": ("d",)},
)


def test_a_corpus_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    storage.save(_CORPUS, tmp_path)
    assert tuple(storage.load_texts(tmp_path / storage.TRAIN)) == _CORPUS.train
    assert tuple(storage.load_texts(tmp_path / storage.VALIDATION)) == _CORPUS.validation
    assert tuple(storage.load_texts(tmp_path / storage.HELDOUT)) == _CORPUS.heldout
    assert tuple(storage.load_pairs(tmp_path / storage.RETRIEVAL)) == _CORPUS.retrieval


def test_the_report_counts_texts_and_names_groups(tmp_path: Path) -> None:
    storage.save(_CORPUS, tmp_path)
    assert read_json(tmp_path / "report.json") == {
        "train_texts": 3,
        "validation_texts": 1,
        "heldout_texts": 2,
        "retrieval_pairs": 1,
        "groups": {"train": ["a", "b"], "validation": ["c"], "heldout": ["d"]},
    }


def test_a_missing_split_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"train\.jsonl is missing: run `dvc repro`"):
        storage.load_texts(tmp_path / storage.TRAIN)


@pytest.mark.parametrize("content", [b'{"text": "cut of', b"\xff\xfe", b'{"other": "key"}\n', b"[1]\n"])
def test_a_damaged_split_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / storage.TRAIN).write_bytes(content)
    with pytest.raises(IntegrityError, match=r"train\.jsonl is damaged"):
        storage.load_texts(tmp_path / storage.TRAIN)
