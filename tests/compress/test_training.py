from collections.abc import Iterator
from itertools import repeat

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.compress.training import Schedule, train
from pipeline.errors import StageError

_Indices = NDArray[np.int64]


def _batches() -> Iterator[_Indices]:
    return repeat(np.arange(4))


def _linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_the_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    schedule = Schedule(steps=10, learning_rate=1.0, warmup_fraction=0.2, weight_decay=0.0)
    assert [schedule.rate_at(step) for step in range(10)] == pytest.approx(
        [1 / 3, 2 / 3, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )
    assert schedule.rate_at(10) == 0.0


def test_without_warmup_the_first_step_has_the_peak() -> None:
    schedule = Schedule(steps=4, learning_rate=0.4, warmup_fraction=0.0, weight_decay=0.0)
    assert [schedule.rate_at(step) for step in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_schedule_that_only_warms_up_stays_finite() -> None:
    schedule = Schedule(steps=2, learning_rate=0.3, warmup_fraction=1.0, weight_decay=0.0)
    assert [schedule.rate_at(step) for step in range(2)] == pytest.approx([0.1, 0.2])


def test_training_lowers_the_loss_and_reports_it() -> None:
    model = _linear()
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])

    def loss(indices: _Indices) -> Tensor:
        assert model.training
        return ((model(x[indices]) - y[indices]) ** 2).mean()

    before = float(loss(np.arange(4)).detach())
    report = train(model, loss, _batches(), Schedule(60, 0.1, 0.1, 0.0), "test")
    assert (report.steps, report.examples) == (60, 240)
    assert not model.training
    assert report.loss_first == pytest.approx(before, rel=0.5)
    assert report.loss_last < 0.1 * report.loss_first


def test_no_steps_change_nothing() -> None:
    model = _linear()
    before = model.weight.detach().clone()
    report = train(model, lambda _: model.weight.sum(), _batches(), Schedule(0, 0.1, 0.1, 0.0), "test")
    assert torch.equal(model.weight, before)
    assert (report.steps, report.examples, report.loss_first, report.loss_last) == (0, 0, 0.0, 0.0)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_within_its_step(value: str) -> None:
    model = _linear()
    calls = 0
    weights: list[Tensor] = []

    def loss(_: _Indices) -> Tensor:
        nonlocal calls
        calls += 1
        weights.append(model.weight.detach().clone())
        return model.weight.sum() * (float(value) if calls == 3 else 1.0)

    with pytest.raises(StageError, match=rf"distill: the loss became -?{value} at step 3 of 10 \(learning rate 8"):
        train(model, loss, _batches(), Schedule(10, 0.1, 0.0, 0.0), "distill")
    assert calls == 3
    assert torch.equal(model.weight, weights[2])
    assert bool(torch.isfinite(model.weight).all())


def test_weight_decay_spares_embeddings_biases_and_norms() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss(_: _Indices) -> Tensor:
        return sum((p.sum() * 0.0 for p in model.parameters()), torch.zeros(()))

    train(model, loss, _batches(), Schedule(1, 0.1, 0.0, 0.5), "test")
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["2.weight"], before["2.weight"] * (1 - 0.1 * 0.5))
    for name in ("0.weight", "1.weight", "1.bias", "2.bias"):
        assert torch.equal(after[name], before[name])
