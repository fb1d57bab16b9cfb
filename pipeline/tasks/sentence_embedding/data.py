"""Texts of the task `sentence_embedding`."""

import os

from pipeline.tasks.base import Work
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text import docstrings, split, storage, textfiles
from pipeline.text.split import Sizes


def make_data(work: Work[ModelParams]) -> None:
    """Docstrings of the packages in data/corpus.lock, or the user's own texts, split by group."""
    data = work.params.data
    if data.source == "docstrings":
        where = work.root / "data" / docstrings.LOCK
        documents = docstrings.read_documents(where, processes=os.cpu_count() or 1)
    else:
        where = work.root / "data" / "raw"
        documents = textfiles.read_documents(where)
    sizes = Sizes(**data.model_dump(include=set(Sizes.__dataclass_fields__)))
    storage.save(split.split(documents, sizes, work.seed, str(where)), work.out)
