"""Per-layer error of a reduced ONNX model: both models run with their intermediate values as outputs."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration, LayerError
from pipeline.engines.layer_errors import EXAMPLES, NoiseMeter, Probe, examples
from pipeline.engines.onnxruntime.layers import layers, only_reader
from pipeline.engines.spec import ModelSpec
from pipeline.runtime.onnxruntime_state import CACHE
from pipeline.runtime.session import PAST

_DEQUANTIZED = "{}_DequantizeLinear_Output"
_ACTIVATIONS = {"Relu", "Clip"}
_FATAL_ONLY = 4


def layer_errors(fp32: ir.Model, reduced: ir.Model, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
    """See `Exporter.layer_errors`; the outputs of both models are replaced."""
    found, shown = _match(fp32.graph, reduced.graph)
    names = sorted(shown)
    exact = Recorder(with_outputs(fp32, names), names)
    noisy = Recorder(with_outputs(reduced, [shown[name] for name in names]), names)
    meter = NoiseMeter()
    for inputs in examples(spec, calibration, EXAMPLES):
        meter.add(exact.run(inputs), noisy.run(inputs))
    return meter.rank(found)


def _match(fp32: ir.Graph, reduced: ir.Graph) -> tuple[list[Probe], dict[str, str]]:
    """The layers that differ, and for each fp32 value around them its name in the reduced graph."""
    made = {value.name or "" for node in reduced for value in node.outputs}
    left = {node.name for node in reduced if node.op_type == "MatMul"}
    names: dict[str, str] = {}
    found = []
    for name, nodes in layers(fp32).items():
        for node in nodes:
            if node.name in left and not any(value is not None and value.is_initializer() for value in node.inputs):
                continue  # int4 leaves products of two activations as they are
            output = _visible(node, made)
            # The ids that a table is looked up by are no activation.
            values = node.inputs if node.op_type != "Gather" else ()
            inputs = tuple(value.name or "" for value in values if value is not None and value.producer() is not None)
            found.append(Probe(name, inputs, output))
            for value in (*inputs, output):
                shown = next((form for form in (_DEQUANTIZED.format(value), value) if form in made), None)
                if shown is not None:
                    names[value] = shown
    return found, names


def _visible(node: ir.Node, made: set[str]) -> str:
    """A layer's output; its activation's, where the quantizer has merged the two."""
    output = node.outputs[0].name or ""
    after = only_reader(node.outputs[0])
    merged = after is not None and after.op_type in _ACTIVATIONS and output not in made
    return after.outputs[0].name or "" if after is not None and merged else output


def with_outputs(model: ir.Model, names: Sequence[str]) -> bytes:
    """The model with these float32 values as its outputs, instead of its own."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.clear()
    for name in names:
        values[name].type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(values[name])
    content: bytes = ir.to_proto(model).SerializeToString()
    return content


class Recorder:
    """A model that gives intermediate values, by the names of the fp32 model."""

    def __init__(self, content: bytes, names: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._names = names
        self._state = {one.name: one.shape for one in self._session.get_inputs() if one.name.startswith(PAST)}

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """The values for one example; a state is empty, with room for the example where its size is open."""
        room = max((array.shape[1] for array in inputs.values() if array.ndim > 1), default=0)
        state = {
            name: np.zeros([room if axis == CACHE else axis for axis in shape], np.float32)
            for name, shape in self._state.items()
        }
        return dict(zip(self._names, self._session.run(None, {**inputs, **state}), strict=True))
