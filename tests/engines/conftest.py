"""Small models with the shapes of real ones: a text encoder and an image network."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipeline.engines.spec import ModelSpec, TensorSpec

VOCABULARY, EMBEDDING, HIDDEN, HEADS, LENGTH, OUTPUT = 600, 24, 32, 2, 16, 48

Inputs = dict[str, NDArray[np.generic]]


class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.up, self.down = nn.Linear(HIDDEN, 2 * HIDDEN), nn.Linear(2 * HIDDEN, HIDDEN)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        heads = self.qkv(x).reshape(batch, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = heads[0], heads[1], heads[2]
        scores = query @ key.transpose(-1, -2) / (width // HEADS) ** 0.5 + bias
        mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(batch, length, width)
        x = self.norm1(x + self.out(mixed))
        y: torch.Tensor = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return y


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, EMBEDDING)
        self.position = nn.Parameter(torch.randn(LENGTH, HIDDEN) * 0.1)
        self.widen, self.layer = nn.Linear(EMBEDDING, HIDDEN), EncoderLayer()
        self.head, self.skip = nn.Linear(HIDDEN, OUTPUT), nn.Linear(EMBEDDING, OUTPUT, bias=False)

    def forward(self, ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        rows = self.table(ids.long())
        keep = attention.to(rows.dtype)
        bias = (1 - keep)[:, None, None, :] * -1e4
        x = self.layer(self.widen(rows) + self.position[: ids.shape[1]], bias)
        weights = (keep / keep.sum(1, keepdim=True).clamp(min=1))[:, :, None]
        return functional.normalize(self.head((x * weights).sum(1)) + self.skip((rows * weights).sum(1)), dim=-1)


class ImageNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU()
        )
        self.head = nn.Linear(24, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.features(images).mean((2, 3)))
        return scores


@pytest.fixture
def text_model() -> nn.Module:
    torch.manual_seed(3)
    return TextEncoder().eval()


@pytest.fixture
def image_model() -> nn.Module:
    torch.manual_seed(3)
    return ImageNetwork().eval()


@pytest.fixture
def text_spec() -> ModelSpec:
    """Two lengths at batch 1, and a batch of 4."""
    inputs = tuple(TensorSpec(name, "int32", ("batch", "length")) for name in ("input_ids", "attention_mask"))
    shapes = ({"batch": 1, "length": 8}, {"batch": 1, "length": LENGTH}, {"batch": 4, "length": 8})
    return ModelSpec(inputs, TensorSpec("sentence_embedding", "float32", ("batch", "width")), shapes)


@pytest.fixture
def image_spec() -> ModelSpec:
    image = TensorSpec("pixels", "float32", ("batch", 3, 32, 32))
    return ModelSpec((image,), TensorSpec("scores", "float32", ("batch", 10)), ({"batch": 1},))


@pytest.fixture
def texts() -> Callable[[int, int], Inputs]:
    """Makes `(batch, length)` random ids and masks; the first row is full."""

    def make(batch: int, length: int) -> Inputs:
        generator = np.random.default_rng(batch * 100 + length)
        counts = generator.integers(2, length + 1, batch)
        counts[0] = length
        mask = (np.arange(length) < counts[:, None]).astype(np.int32)
        ids = generator.integers(1, VOCABULARY, (batch, length), dtype=np.int32) * mask
        return {"input_ids": ids, "attention_mask": mask}

    return make


@pytest.fixture
def images() -> Callable[[int], Inputs]:
    """Makes `batch` images of noise around a random colour."""

    def make(batch: int) -> Inputs:
        generator = np.random.default_rng(batch)
        colour = generator.normal(size=(batch, 3, 1, 1))
        return {"pixels": (colour + generator.normal(size=(batch, 3, 32, 32))).astype(np.float32)}

    return make


@pytest.fixture
def reference() -> Callable[[nn.Module, Inputs], NDArray[np.float32]]:
    """What PyTorch computes."""

    def compute(model: nn.Module, inputs: Inputs) -> NDArray[np.float32]:
        with torch.no_grad():
            output: NDArray[np.float32] = model(*(torch.from_numpy(array) for array in inputs.values())).numpy()
        return output

    return compute


@pytest.fixture
def mean_cosine() -> Callable[[NDArray[np.float32], NDArray[np.float32]], float]:
    def compute(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
        return float(np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))

    return compute
