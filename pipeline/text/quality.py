"""What is left of a teacher's quality: agreement of similarities, and retrieval with ground truth."""

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]


def fidelity_spearman(student: Embeddings, teacher: Embeddings) -> float:
    """Spearman's correlation of all pairwise cosine similarities.

    Args:
        student: unit-length rows, float32 `[n, d]`.
        teacher: unit-length rows of the same texts, float32 `[n, e]`.

    Returns:
        Correlation over the n(n-1)/2 pairs, -1 to 1; ties share their mean rank.

    Raises:
        ValueError: the two have different numbers of rows, or fewer than three.
    """
    if len(student) != len(teacher) or len(student) < 3:
        raise ValueError(f"fidelity needs the same texts, at least 3: {len(student)} and {len(teacher)} given")
    # Slow to import, and most importers of this module rank nothing.
    from scipy.stats import rankdata

    pairs = np.triu_indices(len(student), k=1)
    ranks = [rankdata((rows @ rows.T)[pairs]) for rows in (student, teacher)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def recall_at(queries: Embeddings, documents: Embeddings, count: int) -> float:
    """Share of queries whose own document is among the `count` most similar of all documents.

    Args:
        queries: unit-length rows, float32 `[n, d]`; row i belongs to row i of `documents`.
        documents: unit-length rows, float32 `[n, d]`.

    A document as similar as the right one counts as ranked before it, so that a constant embedding scores zero.
    """
    scores = queries @ documents.T
    right = np.diagonal(scores)[:, None]
    before = (scores >= right).sum(axis=1) - 1
    return float((before < count).mean())


def cosine_similarities(a: Embeddings, b: Embeddings) -> NDArray[np.float32]:
    """Cosine of corresponding rows, float32 `[n]`."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(norms, 1e-12), dtype=np.float32)
