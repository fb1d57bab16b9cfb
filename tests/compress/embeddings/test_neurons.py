from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.compress.embeddings.neurons import cut_encoder, width_without
from pipeline.cost import count_params
from pipeline.students.text_encoder import TextEncoder

_Student = Callable[..., TextEncoder]
_Inputs = tuple[torch.Tensor, torch.Tensor]


def test_pruning_nothing_computes_the_same(tiny_student: _Student, inputs: _Inputs) -> None:
    model = tiny_student()
    pruned = cut_encoder(model, np.arange(20), (16, 32)).eval()
    assert pruned.config == model.config
    assert torch.equal(pruned(*inputs), model(*inputs))


def test_a_pruned_student_is_the_original_with_its_neurons_zeroed(tiny_student: _Student, inputs: _Inputs) -> None:
    model = tiny_student()
    pruned = cut_encoder(model, np.arange(20), (8, 16)).eval()
    assert pruned.config.ffn_dims == (8, 16)
    with torch.no_grad():
        for layer, smaller in zip(model.layers, pruned.layers, strict=True):
            kept = {tuple(row.tolist()) for row in smaller.ffn_in.weight}
            gone = [i for i, row in enumerate(layer.ffn_in.weight) if tuple(row.tolist()) not in kept]
            assert len(gone) == len(layer.ffn_in.weight) // 2
            layer.ffn_out.weight[:, gone] = 0.0
    torch.testing.assert_close(pruned(*inputs), model(*inputs), atol=1e-6, rtol=0)


def test_the_least_important_neurons_go_first(tiny_student: _Student, inputs: _Inputs) -> None:
    model = tiny_student(ffn_dims=(16,))
    weak = [0, 3, 4, 7, 9, 10, 13, 15]
    with torch.no_grad():
        model.layers[0].ffn_out.weight[:, weak] *= 1e-8
    wanted = model(*inputs)
    pruned = cut_encoder(model, np.arange(20), (8,)).eval()
    torch.testing.assert_close(pruned(*inputs), wanted, atol=1e-6, rtol=0)
    strong = [i for i in range(16) if i not in weak]
    assert torch.equal(pruned.layers[0].ffn_in.bias, model.layers[0].ffn_in.bias[strong])


@pytest.mark.parametrize(
    ("neurons", "ratio", "left"),
    [
        (16, 0.25, 16),
        (32, 0.25, 24),
        (16, 0.3, 8),
        (32, 0.3, 24),
        (32, 0.9, 8),
        (16, 0.01, 16),
        (4, 0.5, 4),
        (12, 0, 12),
    ],
)
def test_widths_that_change_are_multiples_of_eight_and_never_none(neurons: int, ratio: float, left: int) -> None:
    assert width_without(neurons, ratio) == left


def test_dropped_rows_leave_the_others_what_they_were(tiny_student: _Student, inputs: _Inputs) -> None:
    model = tiny_student()
    kept = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 19])
    pruned = cut_encoder(model, kept, (16, 32)).eval()
    assert pruned.tokens.weight.shape == (12, 6)
    torch.testing.assert_close(pruned(*inputs), model(*inputs))
    old, new = (torch.tensor([ids], dtype=torch.int32) for ids in ([15, 3, 19], [10, 3, 11]))
    mask = torch.ones(1, 3, dtype=torch.int32)
    torch.testing.assert_close(pruned(new, mask), model(old, mask))


def test_parameters_fall_by_the_rows_and_neurons_and_the_original_stays(tiny_student: _Student) -> None:
    model = tiny_student()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = cut_encoder(model, np.arange(15), (8, 16))
    neurons = (16 - 8) + (32 - 16)
    # A neuron is a row of one matrix, its bias, and a column of the other.
    assert count_params(model) - count_params(pruned) == 5 * 6 + neurons * (8 + 1 + 8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
