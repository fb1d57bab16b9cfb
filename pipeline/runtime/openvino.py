"""Runs OpenVINO IR (`.xml` and `.bin`) on the CPU.

OpenVINO's own defaults depend on the CPU: where it has bf16 (AMX or AVX512_BF16), a model computes in it and differs
from fp32 in about the third digit. So every setting that decides a result is passed from the variant's `Precision`.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError
from pipeline.runtime.openvino_state import MASK, GrowingState, OpenVinoState
from pipeline.runtime.session import Inputs, Precision, State, own_state, refuse_state, take_input

# After this many runs a shape gets a compiled model of its own, which need not work out the shapes of every layer in
# each run: a small encoder takes 0.27 instead of 0.40 ms. Compiling it takes as long as loading, once.
_RUNS_BEFORE_SPECIALIZING = 16
_MOST_SPECIALIZED = 8

# OpenVINO quantizes the activations that meet weights of few bits as they come, in groups of this many: its default,
# and the most where weights of 4 bits have a scale for each 32. With int8 weights, a prompt takes 0.85 of the time in
# groups of 64, at 0.25 % more bits per byte.
_DYNAMIC = "int8 dynamic"
_GROUP, _GROUP_WITH_INT8 = 32, 64

_Shapes = tuple[tuple[int, ...], ...]


class OpenVinoSession:
    """A model with open shapes, and copies of it that are compiled for the shapes that come again and again."""

    def __init__(self, core: openvino.Core, path: Path, config: dict[str, Any], request: openvino.InferRequest) -> None:
        self._core, self._path, self._config = core, path, config
        self._any_shape = request
        ports = request.model_inputs
        self._is_open = any(port.get_partial_shape().is_dynamic for port in ports)
        self._ports = _Ports(ports)
        self._seen: Counter[_Shapes] = Counter()
        self._specialized: dict[_Shapes, openvino.InferRequest] = {}

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; inputs are shared with the engine, the output is a copy."""
        refuse_state(state)
        arrays = self._ports.take(inputs)
        return _infer(self._request(tuple(array.shape for array in arrays)), arrays)

    def new_state(self) -> None:
        """None: the model carries nothing from call to call."""

    def _request(self, shapes: _Shapes) -> openvino.InferRequest:
        """The request compiled for these shapes, or the one for any."""
        request = self._specialized.get(shapes)
        if request is not None:
            return request
        self._seen[shapes] += 1
        if (
            not self._is_open
            or self._seen[shapes] < _RUNS_BEFORE_SPECIALIZING
            or len(self._specialized) == _MOST_SPECIALIZED
        ):
            return self._any_shape
        model = self._core.read_model(self._path)
        model.reshape({index: list(shape) for index, shape in enumerate(shapes)})
        self._specialized[shapes] = self._core.compile_model(model, "CPU", self._config).create_infer_request()
        return self._specialized[shapes]


class StatefulOpenVinoSession:
    """A model with variables; each state is a request of its own, so the weights are shared and nothing else."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        given = [port for port in compiled.inputs if MASK not in port.get_names()]
        self._kind = OpenVinoState if len(given) == len(compiled.inputs) else GrowingState
        self._ports = _Ports(given)

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; the output is a copy."""
        own = own_state(state, OpenVinoState, "OpenVINO")
        arrays = self._ports.take(inputs)
        own.begin(arrays)
        output = own.infer(arrays)
        own.advance(arrays)
        return output

    def new_state(self) -> OpenVinoState:
        """See `Session.new_state`."""
        return self._kind(self._compiled)


class _Ports:
    """The inputs of a model in their order. A port carries several names: the first run shows which the caller uses."""

    def __init__(self, ports: Sequence[Any]) -> None:
        self._ports = [(sorted(port.get_names()), port.element_type.to_dtype()) for port in ports]
        self._inputs: list[tuple[str, np.dtype[Any]]] = []

    def take(self, inputs: Inputs) -> list[NDArray[np.generic]]:
        if not self._inputs:
            self._inputs = [
                (next((name for name in names if name in inputs), "/".join(names)), dtype)
                for names, dtype in self._ports
            ]
        return [np.ascontiguousarray(take_input(inputs, name), dtype) for name, dtype in self._inputs]


def _infer(request: openvino.InferRequest, arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.float32]:
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
    # `infer` does the same, and spends 45 microseconds on its dictionaries.
    request.start_async()
    request.wait()
    output: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
    return output


def open_model(path: Path, threads: int, precision: Precision) -> OpenVinoSession | StatefulOpenVinoSession:
    """Load `path` with `threads` threads in latency mode; see `open_session`.

    Args:
        path: the `.xml` file; its `.bin` lies beside it.
        threads: threads of one run.
        precision: what OpenVINO would otherwise choose by the CPU.
    """
    config = settings(threads, precision)
    core = openvino.Core()
    try:
        compiled = core.compile_model(str(path), "CPU", config)
        request = compiled.create_infer_request()
        if request.query_state():
            return StatefulOpenVinoSession(compiled)
        return OpenVinoSession(core, path, config, request)
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"openvino {openvino.__version__} cannot open {path}: {error}") from error


def settings(threads: int, precision: Precision) -> dict[str, Any]:
    """What a model is compiled with: latency mode, and every setting that the CPU would otherwise decide."""
    group = _GROUP_WITH_INT8 if precision.weights == "int8" else _GROUP
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision.inference,
        "KV_CACHE_PRECISION": "f32" if precision.cache == "none" else precision.cache,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": group if precision.activations == _DYNAMIC else 0,
    }
