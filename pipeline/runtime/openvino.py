"""Runs OpenVINO IR (`.xml` and `.bin`) on the CPU.

OpenVINO computes in bf16 by itself where the CPU has it (AMX or AVX512_BF16): faster, and differing from fp32 in
about the third digit. That is what ships, so it is what is measured; pass `precision="f32"` to forbid it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError
from pipeline.runtime.session import Inputs, take_input


class OpenVinoSession:
    """One compiled model and one inference request, reused by every run."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        # A port carries several names, in no order: the caller's is known at the first run.
        self._ports = [(sorted(port.get_names()), port.element_type.to_dtype()) for port in compiled.inputs]
        self._inputs: list[tuple[str, np.dtype[Any]]] = []
        self._output = compiled.outputs[0]

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """See `Session.run`; inputs are shared with the engine, the output is a copy."""
        if not self._inputs:
            self._inputs = [
                (next((name for name in names if name in inputs), "/".join(names)), dtype)
                for names, dtype in self._ports
            ]
        feeds = {
            index: np.ascontiguousarray(take_input(inputs, name), dtype)
            for index, (name, dtype) in enumerate(self._inputs)
        }
        results = self._request.infer(feeds, share_inputs=True)
        output: NDArray[np.float32] = results[self._output]
        return output


def open_model(path: Path, threads: int, *, precision: str | None = None) -> OpenVinoSession:
    """Load `path` with `threads` threads in latency mode; see `open_session`.

    Args:
        path: the `.xml` file; its `.bin` lies beside it.
        threads: threads of one run.
        precision: `f32` or `bf16`; `None` leaves the choice to OpenVINO.
    """
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if precision is not None:
        config["INFERENCE_PRECISION_HINT"] = precision
    try:
        return OpenVinoSession(openvino.Core().compile_model(str(path), "CPU", config))
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"openvino {openvino.__version__} cannot open {path}: {error}") from error
