"""One way to run a model file on every engine.

The benchmark times the `run` of these sessions, so what is measured is exactly what ships to devices.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.engines import FACTS, Engine
from pipeline.runtime.errors import EngineError, RuntimeInputError

Inputs = Mapping[str, NDArray[np.generic]]

# A file calls a tensor of the state `past.<name>` where it takes it, and `present.<name>` where it gives it back.
PAST, PRESENT = "past.", "present."

# engine -> the package that a device installs for it, as `pip` calls it
ENGINES = {engine.value: facts.package for engine, facts in FACTS.items()}


@dataclass(frozen=True)
class Precision:
    """The types that an engine computes a variant in; set at export, so that no engine's default decides them.

    Attributes:
        weights: `fp32`, `int8` or `int4`.
        activations: `fp32`, `int8 dynamic` (scales from each input) or `int8 static` (scales from calibration).
        inference: the type of everything that is not quantized: `f32` or `bf16`, which OpenVINO alone has.
        cache: the type of the state that is carried from call to call: `f32` or `u8`, which OpenVINO alone has;
            `none` without a state.
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


class Positions:
    """The counting half of a state whose buffers are addressed by position.

    What lies behind `length` is never read: a model masks it, and later calls overwrite it. So rewinding only counts.

    Attributes:
        length: see `State`.
        batch: rows of the calls, which the first one decides; 0 before it.
    """

    def __init__(self, length: int = 0, batch: int = 0) -> None:
        self.length, self.batch = length, batch

    def rewind(self, length: int) -> None:
        """See `State.rewind`."""
        if not 0 <= length <= self.length:
            raise RuntimeInputError(f"a state of {self.length} positions cannot be rewound to {length}")
        self.length = length

    def begin(self, arrays: Sequence[NDArray[np.generic]]) -> None:
        """Before a call: fix the batch, or refuse another one."""
        batch = arrays[0].shape[0]
        if self.batch not in (0, batch):
            raise RuntimeInputError(f"the state was filled with a batch of {self.batch}, but this call has {batch}")
        self.batch = batch

    def advance(self, arrays: Sequence[NDArray[np.generic]]) -> None:
        """After a call: count the positions of its inputs."""
        self.length += next(array.shape[1] for array in arrays if array.ndim > 1)


class Session(Protocol):
    """A loaded model. PyTorch is one too: `pipeline.engines.torch_session`."""

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """Compute the model's one output.

        Args:
            inputs: arrays by input name, all with the same first axis (the batch); for text `input_ids`
                and `attention_mask`, int32 [batch, length].
            state: from `new_state` of this session; it is advanced in place by the positions of the call: the second
                axis of the first input that has one. A model without a state takes none.

        Returns:
            float32 [batch, d], owned by the caller.

        Raises:
            RuntimeInputError: an input is missing or of a wrong shape, the model needs a state and got none, or has
                none and got one.
        """
        ...

    def new_state(self) -> State | None:
        """An empty state; `None` where the model carries none."""
        ...


def open_session(
    engine: str,
    path: Path,
    threads: int | None = None,
    precision: Precision = Precision(),
) -> Session:
    """Load a model file once, ready for many runs.

    Args:
        engine: a key of `ENGINES`.
        path: the `.onnx`, `.xml` (its `.bin` beside it) or `.tflite` file.
        threads: threads of one run; `None` takes every core that this process may use.
        precision: what the variant computes in, as export.json and manifest.json name it.

    Raises:
        RuntimeInputError: unknown engine, missing file, a thread count below 1 or a precision that the engine lacks.
        EngineError: the engine's package is not installed, or the engine refuses the file.
    """
    if engine not in ENGINES:
        raise RuntimeInputError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if not path.is_file():
        raise RuntimeInputError(f"{path} is missing: {engine} has no model to open")
    if threads is not None and threads < 1:
        raise RuntimeInputError(f"threads is {threads}: at least 1 is needed")
    _require_known(engine, path, precision)
    try:
        module = import_module(f"pipeline.runtime.{engine}")
    except ModuleNotFoundError as error:
        package = ENGINES[engine]
        raise EngineError(f"{engine} needs {error.name}, which is not installed: pip install {package}") from error
    session: Session = module.open_model(path, threads if threads is not None else available_cores(), precision)
    return session


def _require_known(engine: str, path: Path, precision: Precision) -> None:
    for name, value, known in (
        ("inference", precision.inference, FACTS[Engine(engine)].inference),
        ("cache", precision.cache, FACTS[Engine(engine)].caches),
    ):
        if value not in known:
            raise RuntimeInputError(f"{path}: {engine} has no {name} in {value!r}: it has {', '.join(known)}")


def available_cores() -> int:
    """Number of cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


_S = TypeVar("_S")


def refuse_state(state: State | None) -> None:
    """Raise for a state that is given to a model without one."""
    if state is not None:
        raise RuntimeInputError("the model carries no state, but one was given: call run(inputs)")


def own_state(state: State | None, kind: type[_S], wanted: str) -> _S:
    """The state that a stateful model was given, as its engine's own kind; anything else is an error.

    Args:
        state: what the caller passed.
        kind: the class of the states that the session makes.
        wanted: the engine, for the message.
    """
    if state is None:
        raise RuntimeInputError("the model carries a state, but none was given: call run(inputs, session.new_state())")
    if not isinstance(state, kind):
        raise RuntimeInputError(f"the state is a {type(state).__name__}, not one of {wanted}: take session.new_state()")
    return state


def take_input(inputs: Inputs, name: str) -> NDArray[np.generic]:
    """The array that a model calls `name`; a missing one is an error that lists what there is."""
    try:
        return inputs[name]
    except KeyError:
        raise RuntimeInputError(f"the model's input {name!r} is missing; given: {', '.join(inputs)}") from None
