"""Running a teacher over texts: the embeddings that a student learns from and is judged against."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.errors import StageError
from pipeline.progress import track
from pipeline.students.transformer_encoder import TransformerEncoder
from pipeline.text.tokens import Tokens, by_length
from pipeline.weights import load_tensors, save_tensors

Teacher = Callable[[Tensor, Tensor], Tensor]

LABELS, VOCABULARY = "labels.safetensors", "vocabulary.safetensors"


def embed(teacher: Teacher, tokens: Tokens, batch_tokens: int, label: str) -> NDArray[np.float32]:
    """Embed texts in batches of similar length.

    Args:
        teacher: ids and mask, int32 `[batch, length]`, to float32 `[batch, d]`.
        batch_tokens: padded tokens of a batch at most.
        label: names the run in the progress bar.

    Returns:
        float32 `[n, d]`, row i of text i.

    Raises:
        StageError: an embedding is NaN or infinite.
    """
    batches = list(by_length(tokens, batch_tokens))
    rows: NDArray[np.float32] | None = None
    with torch.inference_mode():
        for indices in track(batches, total=len(batches), label=label, unit="batches"):
            ids, mask = tokens.batch(indices)
            output = teacher(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
            if rows is None:
                rows = np.empty((len(tokens), output.shape[1]), np.float32)
            rows[indices] = output
    if rows is None:
        raise StageError(f"{label}: there are no texts to embed")
    if not np.isfinite(rows).all():
        raise StageError(f"{label}: {int((~np.isfinite(rows)).any(axis=1).sum())} embeddings hold NaN or infinity")
    return rows


class ContextualMeans:
    """A teacher that also remembers, for each token, the mean of its outputs wherever it stood.

    In squared error, that mean is the best vector that a table without context can hold for the token. So a student's
    table that starts from it knows more than one that starts from the token alone.
    """

    def __init__(self, encoder: TransformerEncoder, vocabulary: int, alone: NDArray[np.float32]) -> None:
        """Start from the teacher's output for each token alone, float32 `[vocabulary, d]`, as one occurrence."""
        self._encoder = encoder
        self._sums = torch.from_numpy(alone.copy())
        self._counts = torch.ones(vocabulary)

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts: ids and mask int `[batch, length]` to unit-length float32 `[batch, d]`."""
        outputs = self._encoder.token_outputs(input_ids, attention_mask)
        real = attention_mask.bool()
        ids = input_ids[real].long()
        self._sums.index_add_(0, ids, outputs[real])
        self._counts.index_add_(0, ids, torch.ones(len(ids)))
        return self._encoder.pool(outputs, attention_mask)

    def table(self) -> NDArray[np.float32]:
        """Mean output of each token, float32 `[vocabulary, d]`."""
        means: NDArray[np.float32] = (self._sums / self._counts[:, None]).numpy()
        return means


def vocabulary_tokens(tokenizer: Tokenizer) -> Tokens:
    """Each entry of the vocabulary as a text of its own, with the special tokens around it."""
    tokenizer.no_padding()
    frame = tokenizer.encode("a").ids
    if len(frame) != 3:
        raise StageError(f"the tokenizer makes {len(frame)} tokens of one letter, 3 were expected (start, letter, end)")
    size = tokenizer.get_vocab_size()
    ids = np.tile(np.array([frame[0], 0, frame[2]], np.int32), (size, 1))
    ids[:, 1] = np.arange(size)
    return Tokens(ids.reshape(-1), np.arange(0, 3 * size + 1, 3, dtype=np.int64))


def save_labels(tokens: Tokens, embeddings: NDArray[np.float32], folder: Path) -> None:
    """Write the training texts as the teacher read them, and its embeddings of them, float32 `[n, d]`."""
    labels: dict[str, NDArray[Any]] = {"ids": tokens.ids, "offsets": tokens.offsets}
    save_tensors({**labels, "embeddings": embeddings.astype(np.float16)}, folder / LABELS)


def load_labels(folder: Path) -> tuple[Tokens, NDArray[np.float32]]:
    """The training texts as the teacher read them, and its embeddings of them, float32 `[n, d]`; from its folder."""
    labels = load_tensors(folder / LABELS)
    return Tokens(labels["ids"], labels["offsets"]), labels["embeddings"].astype(np.float32)
