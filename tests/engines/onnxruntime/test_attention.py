from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pipeline.engines.onnxruntime.attention import SplitHeadsInside
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


def _attention(mask: bool) -> ir.Model:
    """Queries, keys and values `[2, 5, 12]` in two heads, as PyTorch's exporter writes it."""
    shapes = {"to_heads": [2, 5, 2, 6], "from_heads": [2, 5, 12]}
    nodes = []
    for name in "qkv":
        nodes.append(helper.make_node("Reshape", [name, "to_heads"], [f"{name}_split"]))
        nodes.append(helper.make_node("Transpose", [f"{name}_split"], [f"{name}_heads"], perm=[0, 2, 1, 3]))
    given = ["q_heads", "k_heads", "v_heads", *(["mask"] if mask else [])]
    nodes.append(helper.make_node("Attention", given, ["attended"]))
    nodes.append(helper.make_node("Transpose", ["attended"], ["swapped"], perm=[0, 2, 1, 3]))
    nodes.append(helper.make_node("Reshape", ["swapped", "from_heads"], ["y"]))
    inputs = {**{name: [2, 5, 12] for name in "qkv"}, **({"mask": [2, 1, 5, 5]} if mask else {})}
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5, 12])],
        [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()],
        value_info=[helper.make_tensor_value_info("attended", TensorProto.FLOAT, [2, 2, 5, 6])],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10))


def _run(model: ir.Model) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    inputs = {value.name: random.random(value.shape.numpy(), np.float32) for value in model.graph.inputs}
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, inputs)[0]
    return output


def test_an_attention_with_a_mask_splits_its_heads_itself() -> None:
    expected = _run(_attention(mask=True))
    result = SplitHeadsInside()(_attention(mask=True))
    assert result.modified
    assert not {"Transpose", "Reshape"} & {node.op_type for node in result.model.graph}
    assert _run(result.model) == pytest.approx(expected, abs=1e-6)


def test_an_attention_without_a_mask_stays_as_it_is() -> None:
    result = SplitHeadsInside()(_attention(mask=False))
    assert not result.modified
    assert [node.op_type for node in result.model.graph].count("Transpose") == 4
