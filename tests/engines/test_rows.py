"""Running sessions over many examples."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engines.rows import rows
from pipeline.engines.spec import Arrays, ModelSpec, TensorSpec
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import StageError
from pipeline.runtime.session import Inputs, State

_TEXT = ModelSpec(
    (TensorSpec("ids", "int32", ("batch", "length")), TensorSpec("mask", "int32", ("batch", "length"))),
    TensorSpec("sums", "float32", ("batch", 2)),
    ({"batch": 1, "length": 8},),
)
_IMAGE = ModelSpec(
    (TensorSpec("image", "float32", ("batch", 1, 2, 2)),), TensorSpec("mean", "float32", ("batch", 1)), ({"batch": 1},)
)


def _texts(lengths: list[int]) -> list[Arrays]:
    ids = [np.arange(1, length + 1, dtype=np.int32)[None] for length in lengths]
    return [{"ids": one, "mask": np.ones_like(one)} for one in ids]


def _sums(ids: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([(ids * mask).sum(1), mask.sum(1)], dim=1).float()


class _Counting:
    """A session without batches that notes the shapes of its calls."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        self.shapes.append(inputs["ids"].shape)
        return inputs["ids"].sum(1, keepdims=True).astype(np.float32)

    def new_state(self) -> None:
        return None


def test_an_engine_runs_examples_one_by_one_in_their_order() -> None:
    session = _Counting()
    np.testing.assert_array_equal(rows(session, _texts([3, 1, 2]), "test"), [[6], [1], [3]])
    assert session.shapes == [(1, 3), (1, 1), (1, 2)]


def test_pytorch_runs_texts_padded_together_and_returns_their_order() -> None:
    seen: list[tuple[int, ...]] = []

    def module(ids: Tensor, mask: Tensor) -> Tensor:
        seen.append(tuple(ids.shape))
        return _sums(ids, mask)

    lengths = [3, 4096, 1, 2000, 2000]
    given = rows(TorchSession(module, _TEXT), _texts(lengths), "test")
    np.testing.assert_array_equal(given, [[n * (n + 1) / 2, n] for n in lengths])
    # No batch has more than 4096 positions, but for one text that is as long by itself.
    assert seen == [(1, 4096), (2, 2000), (2, 3)]


def test_pytorch_runs_images_in_batches_of_64() -> None:
    seen: list[int] = []

    def module(image: Tensor) -> Tensor:
        seen.append(len(image))
        return image.flatten(1).mean(1, keepdim=True)

    images = [{"image": np.full((1, 1, 2, 2), i, np.float32)} for i in range(130)]
    np.testing.assert_array_equal(rows(TorchSession(module, _IMAGE), images, "test")[:, 0], np.arange(130))
    assert seen == [64, 64, 2]


def test_pytorch_runs_one_by_one_where_a_device_is_compared() -> None:
    seen: list[tuple[int, ...]] = []

    def module(ids: Tensor, mask: Tensor) -> Tensor:
        seen.append(tuple(ids.shape))
        return _sums(ids, mask)

    given = rows(TorchSession(module, _TEXT), _texts([2, 5]), "test", one_by_one=True)
    np.testing.assert_array_equal(given, [[3, 2], [15, 5]])
    assert seen == [(1, 2), (1, 5)]


def test_outputs_of_a_diverged_training_are_counted() -> None:
    def module(image: Tensor) -> Tensor:
        return torch.where(image.flatten(1)[:, :1] == 1, torch.nan, 0.0)

    images = [{"image": np.full((1, 1, 2, 2), i, np.float32)} for i in range(3)]
    with pytest.raises(StageError, match=r"evaluate: 1 of 3 outputs hold NaN or infinity: .* training diverged"):
        rows(TorchSession(module, _IMAGE), images, "evaluate")


def test_no_examples_are_an_error_that_names_the_step() -> None:
    with pytest.raises(StageError, match="verify: there are no examples"):
        rows(_Counting(), [], "verify")
