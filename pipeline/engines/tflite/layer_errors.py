"""Per-layer error of a reduced TensorFlow Lite file: both files run with all their tensors kept."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import TensorType
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration, LayerError
from pipeline.engines.layer_errors import EXAMPLES, NoiseMeter, Probe, examples
from pipeline.engines.spec import ModelSpec
from pipeline.engines.tflite import flatbuffer
from pipeline.engines.tflite.layers import layers


def layer_errors(fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
    """See `Exporter.layer_errors`; the file's first signature runs, and longer examples are cut to its shape."""
    model = flatbuffer.read(fp32.read_bytes())
    subgraph = model.subgraphs[0]
    float_tensors = _float_tensors(flatbuffer.read(reduced.read_bytes()))
    found = []
    for name, operators in layers(model).items():
        for owner, operator in operators:
            if owner is subgraph:
                tensors = [subgraph.tensors[index] for index in operator.inputs if index >= 0]
                inputs = tuple(t.name.decode() for t in tensors if not _is_constant(model, t))
                if len(inputs) < len(tensors) or not float_tensors.issuperset(inputs):
                    found.append(Probe(name, inputs, subgraph.tensors[operator.outputs[0]].name.decode()))
    names = {name for layer in found for name in (*layer.inputs, layer.output)}
    exact, noisy = _Recorder(fp32, spec, names), _Recorder(reduced, spec, names)
    meter = NoiseMeter()
    for inputs_of_one in examples(spec, calibration, EXAMPLES):
        meter.add(exact.run(inputs_of_one), noisy.run(inputs_of_one))
    return meter.rank(found)


def _float_tensors(model: Any) -> set[str]:
    """Tensors of the first signature that are still float; a product of two such tensors was not reduced."""
    return {tensor.name.decode() for tensor in model.subgraphs[0].tensors if tensor.type == TensorType.FLOAT32}


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


class _Recorder:
    """The first signature with all its tensors kept; int8 ones are given as the numbers that they stand for."""

    def __init__(self, file: Path, spec: ModelSpec, names: set[str]) -> None:
        self._interpreter = Interpreter(model_path=str(file), experimental_preserve_all_tensors=True, num_threads=1)
        self._interpreter.allocate_tensors()
        order = [tensor.name for tensor in spec.inputs]
        details = self._interpreter.get_input_details()
        self._inputs = [(order[place], detail) for place, detail in _by_name(details, order)]
        self._shown = [detail for detail in self._interpreter.get_tensor_details() if detail["name"] in names]

    def run(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        for name, detail in self._inputs:
            example = inputs[name]
            fitting = tuple(slice(0, min(pair)) for pair in zip(example.shape, detail["shape"], strict=True))
            filled = np.zeros(detail["shape"], detail["dtype"])
            filled[fitting] = example[fitting]
            self._interpreter.set_tensor(detail["index"], filled)
        self._interpreter.invoke()
        return {detail["name"]: self._value(detail) for detail in self._shown}

    def _value(self, detail: dict[str, Any]) -> NDArray[np.generic]:
        value: NDArray[np.generic] = self._interpreter.get_tensor(detail["index"])
        parameters = detail["quantization_parameters"]
        if value.dtype != np.int8 or not len(parameters["scales"]):
            return value
        numbers: NDArray[np.float32] = value.astype(np.float32) - np.float32(parameters["zero_points"][0])
        return numbers * np.float32(parameters["scales"][0])


def _by_name(details: list[dict[str, Any]], order: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Input tensors by their place in the call: the converter numbers them (`b1_l32_args_0`)."""
    for detail in details:
        number = re.search(r"args_(\d+)", detail["name"])
        yield (int(number.group(1)) if number and len(order) > 1 else 0), detail
