from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.compress.replicas import Replicas


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def _loss(rows: torch.Tensor) -> torch.Tensor:
    # Every row against every other: no sum of losses of parts.
    return torch.logsumexp(rows @ rows.T, dim=1).mean()


def _batch(rows: int = 7) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)


def test_output_and_gradients_are_those_of_the_whole_batch(threads: int) -> None:
    model, batch = _model(), _batch()
    expected = model(torch.from_numpy(batch))
    _loss(expected).backward()
    wanted = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    with Replicas(model) as embed:
        output = embed(batch)
        _loss(output).backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], wanted)
    assert torch.get_num_threads() == threads


def test_two_calls_in_one_loss_add_their_gradients(threads: int) -> None:
    model, first, second = _model(), _batch(5), _batch(6)
    (_loss(model(torch.from_numpy(first))) + _loss(model(torch.from_numpy(second)))).backward()
    wanted = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    with Replicas(model) as embed:
        (_loss(embed(first)) + _loss(embed(second))).backward()
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], wanted)


def test_an_optimizer_step_reaches_every_copy(threads: int) -> None:
    model, batch = _model(), _batch()
    with Replicas(model) as embed:
        embed(batch)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        torch.testing.assert_close(embed(batch), model(torch.from_numpy(batch)))


def test_an_error_in_a_thread_reaches_the_caller(threads: int) -> None:
    with Replicas(_model()) as embed, pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        embed(np.zeros((4, 5), np.float32))
