"""Texts of the task `causal_lm`."""

import os

from pipeline.tasks.base import Work
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.text import docstrings, document_split, documents
from pipeline.text.document_split import DocumentSizes


def make_data(work: Work[ModelParams]) -> None:
    """Whole docstrings of the packages in data/corpus.lock, or the user's own texts, split by group."""
    data = work.params.data
    if data.source == "docstrings":
        where = work.root / "data" / docstrings.LOCK
        found = documents.from_docstrings(where, data.share_of_files, processes=os.cpu_count() or 1)
    else:
        where = work.root / "data" / "raw"
        found = documents.from_folder(where)
    sizes = DocumentSizes(**data.model_dump(include=set(DocumentSizes.__dataclass_fields__)))
    made = document_split.split_documents(found, sizes, work.seed, str(where))
    document_split.save(made.cut(data.judged_bytes), work.out)
