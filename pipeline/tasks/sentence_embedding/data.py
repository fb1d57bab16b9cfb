"""Texts of the task `sentence_embedding`."""

import os
from pathlib import Path

from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text import docstrings, split, storage, textfiles

LOCK = "requirements.lock"


def make_data(params: ModelParams, seed: int, root: Path, out: Path) -> None:
    """Docstrings of the locked packages, or the user's own texts, split by group."""
    if params.data.source == "docstrings":
        where = root / LOCK
        documents = docstrings.read_documents(where, processes=os.cpu_count() or 1)
    else:
        where = root / "data" / "raw"
        documents = textfiles.read_documents(where)
    storage.save(split.split(documents, params.data, seed, str(where)), out)
