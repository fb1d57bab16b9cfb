"""What differs by task; `task(name)` gives the one place that knows."""

from pipeline.tasks.base import Task


def task(name: str) -> Task:
    """The task that params.yaml calls `name`."""
    # Each task brings its own heavy imports.
    if name == "sentence-embedding":
        from pipeline.tasks.sentence_embedding import SentenceEmbedding

        return SentenceEmbedding()
    raise ValueError(f"unknown task {name!r}")  # params.yaml's schema allows no other
