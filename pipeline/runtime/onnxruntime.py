"""Runs `.onnx` files with ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime import OrtValue

from pipeline.runtime.errors import EngineError
from pipeline.runtime.session import (
    PAST,
    PRESENT,
    Inputs,
    Positions,
    Precision,
    State,
    own_state,
    refuse_state,
    take_input,
)

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(float)": np.dtype(np.float32),
    "tensor(bool)": np.dtype(np.bool_),
}
_ERRORS_ONLY = 3


class OnnxSession:
    """One `InferenceSession` with its inputs looked up in advance."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = _inputs(session)
        self._outputs = [session.get_outputs()[0].name]

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; arrays are cast to the types that the graph declares."""
        refuse_state(state)
        feeds = {name: take_input(inputs, name).astype(dtype, copy=False) for name, dtype in self._inputs}
        output: NDArray[np.float32] = self._session.run(self._outputs, feeds)[0]
        return output

    def new_state(self) -> None:
        """None: the graph carries nothing from call to call."""


class OnnxState(Positions):
    """Two buffers a tensor: a call reads `past` and writes `present`, and then they change places.

    Nothing is copied, and nothing that a graph still reads is overwritten.
    """

    def __init__(self, length: int = 0, batch: int = 0) -> None:
        super().__init__(length, batch)
        self.past: list[OrtValue] = []
        self.present: list[OrtValue] = []

    def copy(self) -> "OnnxState":
        """See `State.copy`."""
        copied = OnnxState(self.length, self.batch)
        copied.past = [OrtValue.ortvalue_from_numpy(value.numpy()) for value in self.past]
        copied.present = [OrtValue.ortvalue_from_numpy(value.numpy()) for value in self.present]
        return copied


class StatefulOnnxSession:
    """A graph that takes a state as inputs `past.<name>` and returns it as outputs `present.<name>`."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = [(name, dtype) for name, dtype in _inputs(session) if not name.startswith(PAST)]
        self._output = session.get_outputs()[0].name
        self._state = [
            (node.name.removeprefix(PAST), tuple(node.shape), _DTYPES[node.type])
            for node in session.get_inputs()
            if node.name.startswith(PAST)
        ]

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; the state stays in the engine's buffers."""
        own = own_state(state, OnnxState, "ONNX Runtime")
        arrays = [np.ascontiguousarray(take_input(inputs, name), dtype) for name, dtype in self._inputs]
        own.begin(arrays)
        if not own.past:
            own.past, own.present = self._buffers(own.batch), self._buffers(own.batch)
        binding = self._session.io_binding()
        for (name, _), array in zip(self._inputs, arrays, strict=True):
            binding.bind_cpu_input(name, array)
        binding.bind_output(self._output)
        for (name, _, _), past, present in zip(self._state, own.past, own.present, strict=True):
            binding.bind_ortvalue_input(PAST + name, past)
            binding.bind_ortvalue_output(PRESENT + name, present)
        self._session.run_with_iobinding(binding)
        own.past, own.present = own.present, own.past
        own.advance(arrays)
        output: NDArray[np.float32] = binding.get_outputs()[0].numpy()
        return output

    def new_state(self) -> OnnxState:
        """See `Session.new_state`."""
        return OnnxState()

    def _buffers(self, batch: int) -> list[OrtValue]:
        return [OrtValue.ortvalue_from_numpy(np.zeros((batch, *shape[1:]), dtype)) for _, shape, dtype in self._state]


def open_model(path: Path, threads: int, precision: Precision) -> OnnxSession | StatefulOnnxSession:
    """Load `path` with `threads` intra-op threads; see `open_session`. The file alone decides the precision."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        is_stateful = any(node.name.startswith(PAST) for node in session.get_inputs())
        return StatefulOnnxSession(session) if is_stateful else OnnxSession(session)
    except Exception as error:  # its exception classes share no public base
        raise EngineError(f"onnxruntime {onnxruntime.__version__} cannot open {path}: {error}") from error


def _inputs(session: onnxruntime.InferenceSession) -> list[tuple[str, np.dtype[Any]]]:
    return [(node.name, _DTYPES[node.type]) for node in session.get_inputs()]
