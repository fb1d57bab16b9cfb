"""One way to run a model file on every engine.

The benchmark times the `run` of these sessions, so what is measured is exactly what ships to devices.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError, RuntimeInputError

Inputs = Mapping[str, NDArray[np.generic]]

# engine -> the package that a device installs for it
ENGINES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai-edge-litert"}


@dataclass(frozen=True)
class Precision:
    """What an engine computes a variant with; named at export, so that no engine's default decides it.

    Attributes:
        weights: `fp32`, `int8` or `int4`.
        activations: `fp32`, `int8 dynamic` (scales from each input) or `int8 static` (scales from calibration).
        inference: the type of everything that is not quantized: `f32` or `bf16`. OpenVINO takes bf16 by itself where
            the CPU has it.
        cache: the type of the state that is carried from call to call, `f32` or `u8`; `none` without a state.
    """

    weights: str = "fp32"
    activations: str = "fp32"
    inference: str = "f32"
    cache: str = "none"


class State(Protocol):
    """What a model carries from call to call, such as a cache of keys and values: buffers of one engine.

    Attributes:
        length: positions that it holds, along the model's axis of tokens.
    """

    length: int

    def rewind(self, length: int) -> None:
        """Forget everything after the first `length` positions; later calls overwrite it.

        Raises:
            RuntimeInputError: it holds fewer positions.
        """
        ...

    def copy(self) -> "State":
        """An independent state with the same content, to start several continuations of one prompt from."""
        ...


class Session(Protocol):
    """A loaded model. PyTorch is one too: `pipeline.engines.torch_session`."""

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """Compute the model's one output.

        Args:
            inputs: arrays by input name, all with the same first axis (the batch); for text `input_ids`
                and `attention_mask`, int32 [batch, length].
            state: from `new_state` of this session; it is advanced in place by the positions of the call. A model
                without a state takes none.

        Returns:
            float32 [batch, d], owned by the caller.
        """
        ...

    def new_state(self) -> State | None:
        """An empty state; `None` where the model carries none."""
        ...


def open_session(engine: str, path: Path, threads: int | None = None) -> Session:
    """Load a model file once, ready for many runs.

    Args:
        engine: a key of `ENGINES`.
        path: the `.onnx`, `.xml` (its `.bin` beside it) or `.tflite` file.
        threads: threads of one run; `None` takes every core that this process may use.

    Raises:
        RuntimeInputError: unknown engine, missing file or a thread count below 1.
        EngineError: the engine's package is not installed, or the engine refuses the file.
    """
    if engine not in ENGINES:
        raise RuntimeInputError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if not path.is_file():
        raise RuntimeInputError(f"{path} is missing: {engine} has no model to open")
    if threads is not None and threads < 1:
        raise RuntimeInputError(f"threads is {threads}: at least 1 is needed")
    try:
        module = import_module(f"pipeline.runtime.{engine}")
    except ModuleNotFoundError as error:
        package = ENGINES[engine]
        raise EngineError(f"{engine} needs {error.name}, which is not installed: pip install {package}") from error
    session: Session = module.open_model(path, threads if threads is not None else available_cores())
    return session


def available_cores() -> int:
    """Number of cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def take_input(inputs: Inputs, name: str) -> NDArray[np.generic]:
    """The array that a model calls `name`; a missing one is an error that lists what there is."""
    try:
        return inputs[name]
    except KeyError:
        raise RuntimeInputError(f"the model's input {name!r} is missing; given: {', '.join(inputs)}") from None
