"""Runs `.onnx` files with ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError
from pipeline.runtime.onnxruntime_state import MOST_POSITIONS, GrowingSession, SwappingSession, declared_inputs
from pipeline.runtime.session import PAST, Inputs, Precision, State, refuse_state, take_input

_ERRORS_ONLY = 3


class OnnxSession:
    """One `InferenceSession` with its inputs looked up in advance."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = declared_inputs(session)
        self._outputs = [session.get_outputs()[0].name]

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; arrays are cast to the types that the graph declares."""
        refuse_state(state)
        feeds = {name: take_input(inputs, name).astype(dtype, copy=False) for name, dtype in self._inputs}
        output: NDArray[np.float32] = self._session.run(self._outputs, feeds)[0]
        return output

    def new_state(self) -> None:
        """None: the graph carries nothing from call to call."""


def open_model(path: Path, threads: int, precision: Precision) -> OnnxSession | SwappingSession | GrowingSession:
    """Load `path` with `threads` intra-op threads; see `open_session`. The file alone decides the precision."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        most = session.get_modelmeta().custom_metadata_map.get(MOST_POSITIONS)
        if most is not None:
            return GrowingSession(session, int(most))
        is_stateful = any(node.name.startswith(PAST) for node in session.get_inputs())
        return SwappingSession(session) if is_stateful else OnnxSession(session)
    except Exception as error:  # its exception classes share no public base
        raise EngineError(f"onnxruntime {onnxruntime.__version__} cannot open {path}: {error}") from error
