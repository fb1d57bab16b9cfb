from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline.engines.onnxruntime.export import exporter
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.runtime.session import open_session
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig

_SPEC = ModelSpec(
    (TensorSpec("ids", "int32", ("batch", "length")), TensorSpec("mask", "int32", ("batch", "length"))),
    TensorSpec("vector", "float32", ("batch", "dim")),
    ({"batch": 1, "length": 8},),
)
_TOOLCHAIN: dict[str, str | int] = {"opset": 23}


def _operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_each_layer_is_one_attention_without_transposes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TextEncoder(TextEncoderConfig(30, 6, 16, 2, (24, 24), 12, 10)).eval()
    exporter.export(model, _SPEC, tmp_path / "fp32.onnx", toolchain=_TOOLCHAIN)
    operators = _operators(tmp_path / "fp32.onnx")
    assert operators["Attention"] == 2
    assert operators["Transpose"] == operators["Reshape"] == operators["Softmax"] == 0
    session = open_session("onnxruntime", tmp_path / "fp32.onnx", 1)
    random = np.random.default_rng(0)
    for batch, length in ((1, 8), (3, 5)):
        ids = random.integers(0, 30, (batch, length)).astype(np.int32)
        mask = np.ones_like(ids)
        # A text's padding must get no attention, whoever computes the mask's shape.
        mask[-1, 3:] = 0
        with torch.inference_mode():
            expected = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        assert session.run({"ids": ids, "mask": mask}) == pytest.approx(expected, abs=1e-6)


def test_graph_without_attention_stays_as_it_is(image_model: nn.Module, image_spec: ModelSpec, tmp_path: Path) -> None:
    exporter.export(image_model, image_spec, tmp_path / "fp32.onnx", toolchain=_TOOLCHAIN)
    operators = _operators(tmp_path / "fp32.onnx")
    assert operators["Attention"] == 0
    assert operators["Conv"] == 2
