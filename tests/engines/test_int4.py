"""int4 of the small text encoder on each engine: near PyTorch, smaller, and 4 bits where the tool has kernels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import openvino
import pytest
from ai_edge_litert.schema_py_generated import TensorType
from numpy.typing import NDArray
from torch import nn

from pipeline.engines.exporter import Calibration, Exporter, exporter
from pipeline.engines.spec import ModelSpec
from pipeline.engines.tflite import flatbuffer
from pipeline.layout import SUFFIX, Engine, Variant
from pipeline.runtime.session import Precision, open_session

# Mean cosine to PyTorch of random weights, whose products lose more than trained ones.
NEAR = 0.97
Make = Callable[..., Any]


class Exported(NamedTuple):
    target: Exporter
    spec: ModelSpec
    calibration: Calibration
    folder: Path

    def file(self, variant: str) -> Path:
        return self.folder / f"{variant}{SUFFIX[self.target.name]}"

    def reduce(self, name: str, precision: Variant, keep_float: tuple[str, ...] = ()) -> Path:
        made = self.file(name)
        self.target.quantize(
            self.file("fp32"), self.spec, self.calibration, made, precision=precision, keep_float=keep_float
        )
        return made

    def size(self, variant: str) -> int:
        return sum(path.stat().st_size for path in self.folder.glob(f"{variant}.*"))


@pytest.fixture(params=list(Engine))
def exported(
    request: pytest.FixtureRequest, text_model: nn.Module, text_spec: ModelSpec, texts: Make, tmp_path: Path
) -> Exported:
    # Two signatures: each more costs seconds on TensorFlow Lite.
    spec = replace(text_spec, shapes=text_spec.shapes[1:])
    made = Exported(exporter(request.param), spec, texts(64, 16), tmp_path)
    made.target.export(text_model, spec, made.file("fp32"), toolchain={"opset": 23})
    return made


def _relative_error(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(given - expected) / np.linalg.norm(expected))


def _widths(engine: Engine, file: Path) -> set[int]:
    """Bits of the integer weights in a file; one that is packed by its operator counts as the operator says."""
    if engine is Engine.ONNXRUNTIME:
        graph = onnx.load(file).graph
        packed = [node for node in graph.node if node.op_type == "MatMulNBits"]
        bits = {attribute.i for node in packed for attribute in node.attribute if attribute.name == "bits"}
        others = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
        integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
        return bits | {8 for t in graph.initializer if t.name in others | looked_up and t.data_type in integers}
    if engine is Engine.OPENVINO:
        constants = [op for op in openvino.Core().read_model(file).get_ops() if op.get_type_name() == "Constant"]
        types = {op.get_element_type().to_string() for op in constants}
        return {bits for name, bits in (("u4", 4), ("i4", 4), ("u8", 8), ("i8", 8)) if name in types}
    tensors = [tensor for graph in flatbuffer.read(file.read_bytes()).subgraphs for tensor in graph.tensors]
    types = {tensor.type for tensor in tensors}
    return {bits for kind, bits in ((TensorType.INT4, 4), (TensorType.INT8, 8)) if kind in types}


def test_int4_is_near_pytorch_at_every_shape_and_smaller_than_int8(
    exported: Exported, text_model: nn.Module, texts: Make, reference: Make, mean_cosine: Make
) -> None:
    engine = exported.target.name
    exported.reduce("int8", Variant.INT8)
    int4 = exported.reduce("int4", Variant.INT4)
    precision = exported.target.precision_of(int4, Variant.INT4, exported.spec, "f32")
    assert precision == Precision("int4", "int8 dynamic", "f32", "none")
    session = open_session(engine.value, int4, 1, precision)
    for batch, length in ((1, 8), (1, 5), (4, 8), (3, 16)):
        inputs = texts(batch, length)
        assert mean_cosine(session.run(inputs), reference(text_model, inputs)) > NEAR
    assert exported.size("int4") < exported.size("int8")
    # What no block fits, and the table, are int8.
    assert _widths(engine, int4) == {4, 8}


def test_int4_is_written_twice_the_same(exported: Exported) -> None:
    exported.reduce("int4", Variant.INT4)
    exported.reduce("again", Variant.INT4)
    for path in exported.folder.glob("int4.*"):
        assert path.read_bytes() == path.with_stem("again").read_bytes()


def test_layers_that_int4_hurts_are_ranked_and_can_stay_in_float(
    exported: Exported, text_model: nn.Module, texts: Make, reference: Make
) -> None:
    int4 = exported.reduce("int4", Variant.INT4)
    ranked = exported.target.layer_errors(exported.file("fp32"), int4, exported.spec, exported.calibration)
    errors = [layer.error for layer in ranked]
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[0] < 1
    kept = exported.reduce("kept", Variant.INT4, tuple(layer.name for layer in ranked[:8]))
    inputs = texts(3, 16)
    expected = reference(text_model, inputs)
    precision = exported.target.precision_of(int4, Variant.INT4, exported.spec, "f32")
    before, after = (
        _relative_error(open_session(exported.target.name.value, file, 1, precision).run(inputs), expected)
        for file in (int4, kept)
    )
    assert after < 0.8 * before
