from pathlib import Path

import torch
from torch import nn

from pipeline.cost import count_macs, count_params, describe_size, latency_ms
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.tasks.sentence_embedding.serving import example

_VOCABULARY, _EMBEDDING, _HIDDEN, _FFN, _LENGTH, _OUTPUT = 50, 6, 8, (16, 24), 40, 10


def _student() -> TextEncoder:
    return TextEncoder(TextEncoderConfig(_VOCABULARY, _EMBEDDING, _HIDDEN, 2, _FFN, _LENGTH, _OUTPUT)).eval()


def test_a_linear_map_costs_its_matrix_a_row() -> None:
    linear = nn.Linear(5, 7)
    assert count_params(linear) == 5 * 7 + 7
    assert count_macs(linear, {"input": torch.zeros(3, 5)}) == 3 * 5 * 7


def test_a_convolution_costs_its_kernel_a_position() -> None:
    convolution = nn.Conv2d(3, 4, 3, bias=False)
    assert count_macs(convolution, {"input": torch.zeros(1, 3, 8, 8)}) == 6 * 6 * 4 * 3 * 9


def test_a_shared_parameter_counts_once() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    assert count_params(nn.Sequential(first, second)) == 16


def test_the_students_parameters_are_those_of_the_formula() -> None:
    layers = sum(4 * _HIDDEN * _HIDDEN + 4 * _HIDDEN + 2 * _HIDDEN * ffn + ffn + _HIDDEN + 4 * _HIDDEN for ffn in _FFN)
    tables = (_VOCABULARY + _LENGTH) * _EMBEDDING
    project = _EMBEDDING * _HIDDEN + _HIDDEN
    heads = 2 * _HIDDEN + _HIDDEN * _OUTPUT + _OUTPUT + _EMBEDDING * _OUTPUT
    assert count_params(_student()) == tables + project + layers + heads


def test_the_students_multiply_accumulates_are_those_of_the_formula() -> None:
    tokens = 32
    weights = sum(4 * _HIDDEN * _HIDDEN + 2 * _HIDDEN * ffn for ffn in _FFN)
    attention = len(_FFN) * 2 * tokens * _HIDDEN  # scores and their weighted sum, a token
    pooling = _HIDDEN + _EMBEDDING  # a product with the weights of the mean, a token
    per_text = (_HIDDEN + _EMBEDDING) * _OUTPUT
    wanted = tokens * (_EMBEDDING * _HIDDEN + weights + attention + pooling) + per_text
    assert count_macs(_student(), example()) == wanted


def test_the_size_of_a_model_and_of_a_black_box(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"12345")
    size = describe_size(_student(), weights, example())
    assert size["size_bytes"] == 5
    assert size["params"] == count_params(_student())
    assert describe_size(None, weights, example()) == {"params": None, "macs": None, "size_bytes": None}


def test_latency_gives_a_time_a_model_and_restores_the_threads() -> None:
    threads = torch.get_num_threads()
    times = latency_ms({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, {"input": torch.zeros(1, 2)})
    assert times.keys() == {"a", "b"}
    assert all(time > 0 for time in times.values())
    assert torch.get_num_threads() == threads
