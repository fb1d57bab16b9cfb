"""The split texts as files: one JSON object a line."""

import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import IntegrityError
from pipeline.files import write_json
from pipeline.layout import REPORT
from pipeline.text.split import Corpus
from pipeline.text.texts import Passage

TRAIN, VALIDATION, HELDOUT, RETRIEVAL = "train.jsonl", "validation.jsonl", "heldout.jsonl", "retrieval.jsonl"


def save(corpus: Corpus, folder: Path) -> None:
    """Write the corpus and its report into an existing folder."""
    for name, texts in ((TRAIN, corpus.train), (VALIDATION, corpus.validation), (HELDOUT, corpus.heldout)):
        write_rows(folder / name, ({"text": text} for text in texts))
    write_rows(folder / RETRIEVAL, ({"summary": pair.summary, "body": pair.body} for pair in corpus.retrieval))
    counts = {
        "train_texts": len(corpus.train),
        "validation_texts": len(corpus.validation),
        "heldout_texts": len(corpus.heldout),
        "retrieval_pairs": len(corpus.retrieval),
    }
    write_json(folder / REPORT, {**counts, "groups": {split: list(names) for split, names in corpus.groups.items()}})


def load_texts(path: Path) -> list[str]:
    """The texts of one split.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    return [row["text"] for row in read_rows(path, {"text"})]


def load_pairs(path: Path) -> list[Passage]:
    """The retrieval pairs.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    return [Passage(row["summary"], row["body"]) for row in read_rows(path, {"summary", "body"})]


def write_rows(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_rows(path: Path, keys: set[str]) -> list[dict[str, str]]:
    """The objects of a file, each with exactly these `keys`.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or row.keys() != keys:
                raise ValueError(f"line {number} has not the keys {', '.join(sorted(keys))}")
        return rows
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: run `dvc repro` (or `dvc pull`) first") from error
    except ValueError as error:
        raise IntegrityError(f"{path} is damaged ({error}): `dvc checkout` brings it back") from error
