"""Layers of a TensorFlow Lite file by name, and the per-layer error of its int8 variant."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration, LayerError
from pipeline.engines.layer_errors import EXAMPLES, Layer, NoiseMeter, examples
from pipeline.engines.spec import ModelSpec
from pipeline.engines.tflite import flatbuffer

_LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "GATHER"}
_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def operator_name(model: Any, operator: Any) -> str:
    """`CONV_2D` and so on."""
    code = model.operatorCodes[operator.opcodeIndex]
    name: str = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return name


def has_convolutions(model: Any) -> bool:
    """Whether this is a convolutional network."""
    names = {operator_name(model, operator) for subgraph in model.subgraphs for operator in subgraph.operators}
    return "CONV_2D" in names


def scope(subgraph: Any, operator: Any) -> str:
    """What recipes of ai-edge-quantizer call an operator: the names of its outputs."""
    return "".join(f"{subgraph.tensors[index].name.decode()};" for index in operator.outputs)


def layers(model: Any) -> dict[str, list[tuple[Any, Any]]]:
    """Subgraph and operator of all that int8 concerns, in all signatures, by the module's name."""
    found: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operator_name(model, operator) in _LAYERS:
                found[_name(subgraph, operator)].append((subgraph, operator))
    return found


def _name(subgraph: Any, operator: Any) -> str:
    """`features.0.0` of `...MobileNetV3/...Sequential_features/...Sequential_0/...Conv2d_0;`.

    litert-torch names a tensor after the modules that made it, by class and attribute; of several that were merged
    into one operator the last has the weights.
    """
    name = subgraph.tensors[operator.outputs[0]].name.decode()
    parts = [part for part in re.split(r";\d*", name) if part]
    steps = [step.rpartition("_")[2] for step in (parts[-1] if parts else name).split("/")[1:]]
    return ".".join(steps) or name


def layer_errors(fp32: Path, int8: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
    """See `Exporter.layer_errors`; on the file's first signature."""
    model = flatbuffer.read(fp32.read_bytes())
    subgraph = model.subgraphs[0]
    found = []
    for name, operators in layers(model).items():
        for owner, operator in operators:
            if owner is subgraph:
                tensors = [subgraph.tensors[index] for index in operator.inputs if index >= 0]
                inputs = tuple(t.name.decode() for t in tensors if not _is_constant(model, t))
                found.append(Layer(name, inputs, subgraph.tensors[operator.outputs[0]].name.decode()))
    names = {name for layer in found for name in (*layer.inputs, layer.output)}
    exact, noisy = _Recorder(fp32, spec, names), _Recorder(int8, spec, names)
    meter = NoiseMeter()
    for inputs_of_one in examples(spec, calibration, EXAMPLES):
        meter.add(exact.run(inputs_of_one), noisy.run(inputs_of_one))
    return meter.rank(found)


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
            filled = np.zeros(detail["shape"], detail["dtype"])
            filled[tuple(slice(0, size) for size in example.shape)] = example
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
