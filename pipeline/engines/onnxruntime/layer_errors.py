"""Per-layer error of an int8 ONNX model: both models are run with their intermediate values shown."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration, LayerError
from pipeline.engines.layer_errors import EXAMPLES, Layer, NoiseMeter, examples
from pipeline.engines.onnxruntime.graph import Links, layers, with_outputs
from pipeline.engines.spec import ModelSpec

_DEQUANTIZED = "{}_DequantizeLinear_Output"
_ACTIVATIONS = {"Relu", "Clip"}
_FATAL_ONLY = 4


def layer_errors(
    fp32: onnx.ModelProto, int8: onnx.ModelProto, spec: ModelSpec, calibration: Calibration
) -> list[LayerError]:
    """See `Exporter.layer_errors`."""
    found, shown = _match(fp32.graph, int8.graph)
    names = sorted(shown)
    exact = _Recorder(with_outputs(fp32, names), names)
    noisy = _Recorder(with_outputs(int8, [shown[name] for name in names]), names)
    meter = NoiseMeter()
    for inputs in examples(spec, calibration, EXAMPLES):
        meter.add(exact.run(inputs), noisy.run(inputs))
    return meter.rank(found)


def _match(fp32: onnx.GraphProto, int8: onnx.GraphProto) -> tuple[list[Layer], dict[str, str]]:
    """The layers that differ, and for each fp32 value around them its name in the int8 graph."""
    links, made = Links.of(fp32), {name for node in int8.node for name in node.output}
    names: dict[str, str] = {}
    found = []
    for name, nodes in layers(fp32).items():
        for node in nodes:
            output = _visible(links, node, made)
            # What a table is looked up by is no activation.
            inputs = [value for value in node.input if value in links.producer and node.op_type != "Gather"]
            found.append(Layer(name, tuple(inputs), output))
            for value in (*inputs, output):
                shown = next((form for form in (_DEQUANTIZED.format(value), value) if form in made), None)
                if shown is not None:
                    names[value] = shown
    return found, names


def _visible(links: Links, node: onnx.NodeProto, made: set[str]) -> str:
    """A layer's output; its activation's, where the quantizer has merged the two."""
    output: str = node.output[0]
    after = links.only_consumer(output)
    merged = after is not None and after.op_type in _ACTIVATIONS and output not in made
    return after.output[0] if after is not None and merged else output


class _Recorder:
    """A model that gives intermediate values, by the names of the fp32 model."""

    def __init__(self, content: bytes, names: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._names = names

    def run(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))
