from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import StageError
from pipeline.text import label
from pipeline.text.encoder import load_encoder
from pipeline.text.tokens import Tokens, load_tokenizer, tokenize

_TEXTS = ["read a file", "read a read", "open the socket and wait"]


def _length_and_first(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    return torch.stack([attention_mask.sum(1).float(), input_ids[:, 0].float()], dim=1)


def _tokens() -> Tokens:
    return Tokens(np.array([5, 6, 6, 7, 8, 8, 8], np.int32), np.array([0, 1, 3, 7], np.int64))


@pytest.mark.parametrize("batch_tokens", [1, 4, 100])
def test_rows_stand_in_the_order_of_the_texts(batch_tokens: int) -> None:
    rows = label.embed(_length_and_first, _tokens(), batch_tokens, "test")
    np.testing.assert_array_equal(rows, np.array([[1, 5], [2, 6], [4, 7]], np.float32))
    assert rows.dtype == np.float32


def test_nan_is_counted_and_stops() -> None:
    def broken(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.where(attention_mask.sum(1, keepdim=True) > 1, torch.nan, torch.ones(len(input_ids), 3))

    with pytest.raises(StageError, match="teacher: texts: 2 embeddings hold NaN or infinity"):
        label.embed(broken, _tokens(), 4, "teacher: texts")


def test_no_texts_are_named() -> None:
    empty = Tokens(np.zeros(0, np.int32), np.zeros(1, np.int64))
    with pytest.raises(StageError, match="teacher: validation: there are no texts"):
        label.embed(_length_and_first, empty, 4, "teacher: validation")


def test_contextual_means_are_the_naive_means(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    tiny_teacher(tmp_path / "t")
    encoder = load_encoder(tmp_path / "t")
    tokens = tokenize(_TEXTS, load_tokenizer(tmp_path / "t" / "tokenizer.json"), 16)
    vocabulary = 30522
    alone = np.random.default_rng(0).normal(size=(vocabulary, 32)).astype(np.float32)
    means = label.ContextualMeans(encoder, vocabulary, alone)
    embeddings = label.embed(means, tokens, 100, "test")  # one batch, so that two texts are padded
    np.testing.assert_allclose(embeddings, label.embed(encoder, tokens, 12, "test"), atol=1e-6)

    outputs: dict[int, list[np.ndarray]] = {}
    for i in range(len(tokens)):
        ids, mask = tokens.batch(np.array([i]))
        with torch.inference_mode():
            rows = encoder.token_outputs(torch.from_numpy(ids), torch.from_numpy(mask))[0].numpy()
        for token, row in zip(ids[0], rows, strict=True):
            outputs.setdefault(int(token), []).append(row)
    wanted = alone.copy()
    for token, rows in outputs.items():
        wanted[token] = np.mean([alone[token], *rows], axis=0)
    assert max(len(rows) for rows in outputs.values()) == 3
    np.testing.assert_allclose(means.table(), wanted, atol=1e-5)
    assert 0 not in outputs  # padding is no occurrence


def test_the_start_is_not_changed(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    tiny_teacher(tmp_path / "t")
    alone = np.ones((30522, 32), np.float32)
    means = label.ContextualMeans(load_encoder(tmp_path / "t"), 30522, alone)
    means(torch.tensor([[101, 2003, 102]]), torch.ones(1, 3, dtype=torch.int32))
    assert (alone == 1).all()


def test_each_token_stands_between_the_special_tokens(minilm: Path) -> None:
    tokens = label.vocabulary_tokens(load_tokenizer(minilm / "tokenizer.json"))
    assert len(tokens) == 30522
    ids, mask = tokens.batch(np.array([0, 2003, 30521]))
    np.testing.assert_array_equal(ids, [[101, 0, 102], [101, 2003, 102], [101, 30521, 102]])
    assert mask.all()
