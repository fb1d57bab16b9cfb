"""Where the tokens of two byte-level BPE tokenizers start at the same byte of a text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


@dataclass(frozen=True)
class Aligned:
    """One text in the tokens of teacher and student, each behind its start token.

    Attributes:
        teacher: int32 `[n]`.
        student: int32 `[m]`.
        rows: teacher positions whose next token starts where a student's token starts, int64 `[k]`.
        places: the student positions in front of the same bytes, int64 `[k]`.
    """

    teacher: NDArray[np.int32]
    student: NDArray[np.int32]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def byte_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Bytes of each token of a byte-level BPE, whose alphabet has one character a byte; 0 for special ones."""
    special = {added.content for added in tokenizer.get_added_tokens_decoder().values()}
    lengths = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for token, index in tokenizer.get_vocab().items():
        lengths[index] = 0 if token in special else len(token)
    return lengths


def align(
    teacher: NDArray[np.int32],
    student: NDArray[np.int32],
    teacher_bytes: NDArray[np.int64],
    student_bytes: NDArray[np.int64],
) -> Aligned:
    """Find the common starts of the tokens of one text.

    Args:
        teacher: its tokens behind the start token, int32 `[n]`, perhaps of the text's beginning alone.
        student: the same of the student, int32 `[m]`.
        teacher_bytes: bytes of each token of its vocabulary; the start token has 0.
        student_bytes: the same of the student.
    """
    # Position i is in front of token i + 1, which starts behind the bytes of tokens 0 to i.
    starts, student_starts = teacher_bytes[teacher].cumsum()[:-1], student_bytes[student].cumsum()[:-1]
    _, rows, places = np.intersect1d(starts, student_starts, assume_unique=True, return_indices=True)
    return Aligned(teacher, student, rows, places)
