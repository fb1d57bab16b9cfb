from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from pipeline.compress.fake_int8 import FakeInt8, Quantizable, int8_weights
from pipeline.students.text_encoder import TextEncoder

_Student = Callable[..., TextEncoder]
_Inputs = tuple[torch.Tensor, torch.Tensor]


def test_each_row_is_rounded_by_its_own_scale() -> None:
    weight = torch.tensor([[1.27, -0.014, 0.016], [-12.7, 0.04, 6.36], [0.0, 0.0, 0.0]])
    wanted = torch.tensor([[1.27, -0.01, 0.02], [-12.7, 0.0, 6.4], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(FakeInt8(per_row=True)(weight), wanted)


def test_one_scale_for_all_is_that_of_the_largest_value() -> None:
    weight = torch.tensor([[1.27, -0.014], [-12.7, 0.06]])
    torch.testing.assert_close(FakeInt8(per_row=False)(weight), torch.tensor([[1.3, 0.0], [-12.7, 0.1]]))


def test_at_most_255_levels_are_used_and_rounding_twice_changes_nothing() -> None:
    weight = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    rounded = FakeInt8(per_row=True)(weight)
    assert max(len(row.unique()) for row in rounded) <= 255
    assert float((rounded - weight).abs().max()) <= float(weight.abs().max()) / 127 / 2 + 1e-6
    torch.testing.assert_close(FakeInt8(per_row=True)(rounded), rounded)


@pytest.mark.parametrize("per_row", [True, False])
def test_the_gradient_passes_unchanged(per_row: bool) -> None:
    weight = torch.tensor([[0.5, -0.2, 1.0], [3.0, 0.01, -2.0]], requires_grad=True)
    upstream = torch.arange(6.0).reshape(2, 3)
    (FakeInt8(per_row)(weight) * upstream).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, upstream)


def test_inside_the_block_the_student_computes_with_rounded_weights(tiny_student: _Student, inputs: _Inputs) -> None:
    rounded = tiny_student()
    with torch.no_grad():
        for module in rounded.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(FakeInt8(per_row=True)(module.weight))
        rounded.tokens.weight.copy_(FakeInt8(per_row=False)(rounded.tokens.weight))
    model = tiny_student()
    plain = model(*inputs)
    with int8_weights(model):
        inside = model(*inputs)
    torch.testing.assert_close(inside, rounded(*inputs))
    assert not torch.allclose(inside, plain, atol=1e-6)


def test_after_the_block_the_float_weights_are_back_as_they_were_trained(
    tiny_student: _Student, inputs: _Inputs
) -> None:
    model = tiny_student()
    names = list(model.state_dict())
    with int8_weights(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        model(*inputs)[:, 0].sum().backward()
        optimizer.step()
        trained = model.output.parametrizations["weight"].original.detach().clone()
        table = model.tokens.parametrizations["weight"].original.detach().clone()
    assert not torch.equal(trained, tiny_student().output.weight)
    assert torch.equal(model.output.weight, trained)
    assert torch.equal(model.tokens.weight, table)
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert sorted(model.state_dict()) == sorted(names)


def test_an_untrained_student_leaves_the_block_unchanged_even_on_an_error(tiny_student: _Student) -> None:
    model = tiny_student()
    with pytest.raises(RuntimeError, match="in the block"), int8_weights(model):
        raise RuntimeError("in the block")
    assert all(torch.equal(tensor, tiny_student().state_dict()[name]) for name, tensor in model.state_dict().items())
    assert not any(parametrize.is_parametrized(module) for module in model.modules())


class _TwoTables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rounded = nn.Embedding(4, 3)
        self.left = nn.Embedding(4, 3)

    def tables(self) -> list[nn.Embedding]:
        return [self.rounded]


def test_a_student_of_any_kind_names_the_tables_that_are_rounded() -> None:
    model = _TwoTables()
    assert isinstance(model, Quantizable)
    before = model.rounded.weight.detach().clone()
    with int8_weights(model):
        torch.testing.assert_close(model.rounded.weight, FakeInt8(per_row=False)(before))
        assert not parametrize.is_parametrized(model.left)
    assert torch.equal(model.rounded.weight, before)
