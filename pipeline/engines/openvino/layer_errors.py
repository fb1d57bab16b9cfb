"""Per-layer error of a reduced OpenVINO model: both models run with their intermediate values as outputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration, LayerError
from pipeline.engines.layer_errors import EXAMPLES, NoiseMeter, Probe, examples
from pipeline.engines.openvino.layers import layer_name, layer_nodes
from pipeline.engines.spec import ModelSpec

_QUANTIZE, _PARAMETER = "FakeQuantize", "Parameter"


def layer_errors(fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
    """See `Exporter.layer_errors`."""
    exact, noisy = (openvino.Core().read_model(file) for file in (fp32, reduced))
    pairs = list(zip(layer_nodes(exact), layer_nodes(noisy), strict=True))
    shown: dict[str, tuple[Any, Any]] = {}
    found = []
    for here, there in pairs:
        inputs = {str(a): (a, b) for a, b in zip(_sources(here), _sources(there), strict=True)}
        shown |= {**inputs, str(here.output(0)): (here.output(0), there.output(0))}
        found.append(Probe(layer_name(here), tuple(inputs), str(here.output(0))))
    recorders = [_Recorder(model, shown, side) for side, model in enumerate((exact, noisy))]
    meter = NoiseMeter()
    for inputs_of_one in examples(spec, calibration, EXAMPLES):
        meter.add(*(recorder.run(inputs_of_one) for recorder in recorders))
    return meter.rank(found)


def _sources(node: Any) -> list[Any]:
    """Where a layer's activations come from, before they are made int8; without weights and the model's inputs."""
    sources = []
    for port in node.inputs():
        source = port.get_source_output()
        while source.get_node().get_type_name() == _QUANTIZE:
            source = source.get_node().input(0).get_source_output()
        if _is_computed(source.get_node()):
            sources.append(source)
    return sources


def _is_computed(node: Any) -> bool:
    """Whether a node depends on the model's inputs; reduced weights are constants behind a few nodes."""
    seen, todo = set(), [node]
    while todo:
        current = todo.pop()
        if current.get_type_name() == _PARAMETER:
            return current is not node
        if current.get_friendly_name() not in seen:
            seen.add(current.get_friendly_name())
            todo.extend(port.get_source_output().get_node() for port in current.inputs())
    return False


class _Recorder:
    """A model that gives intermediate values, computed in f32, by the names of the fp32 model."""

    def __init__(self, model: openvino.Model, shown: dict[str, tuple[Any, Any]], side: int) -> None:
        self._names: Sequence[str] = list(shown)
        added = model.add_outputs([shown[name][side] for name in self._names])
        first = len(model.outputs) - len(added)
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()
        self._outputs = compiled.outputs[first:]

    def run(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        results = self._request.infer(inputs)
        return {name: results[port] for name, port in zip(self._names, self._outputs, strict=True)}
