"""Runs `.tflite` files with LiteRT, the new name of TensorFlow Lite's runtime.

Its shapes are fixed: a file holds one signature a shape, and all of them share the weights. A run takes the
signature that computes the fewest padded elements, pads with zeros (which the attention mask ignores) and crops.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pipeline.runtime.decoder_calls import INPUTS
from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.session import PAST, Inputs, Precision, State, refuse_state, take_input

if TYPE_CHECKING:
    from pipeline.runtime.tflite_decoder import TfliteDecoderSession
    from pipeline.runtime.tflite_state import StatefulTfliteSession

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """One entry point of the file with its fixed input shapes."""

    call: Callable[..., Mapping[str, NDArray[np.float32]]]
    inputs: Mapping[str, tuple[Shape, np.dtype[Any]]]
    output: str

    @property
    def batch(self) -> int:
        """Rows of one call."""
        return next(iter(self.inputs.values()))[0][0]

    def cost(self, rows: Mapping[str, Shape]) -> tuple[int, int] | None:
        """Elements computed for inputs of these shapes, and calls; `None` where they do not fit."""
        for name, (shape, _) in self.inputs.items():
            wanted = rows[name]
            if len(wanted) != len(shape) or any(w > s for w, s in zip(wanted[1:], shape[1:], strict=True)):
                return None
        count = next(iter(rows.values()))[0]
        calls = -(-count // self.batch)
        return calls * sum(int(np.prod(shape)) for shape, _ in self.inputs.values()), calls


class TfliteSession:
    """One interpreter; signatures are chosen by the shapes of the inputs, and the choice is remembered."""

    def __init__(self, interpreter: Interpreter) -> None:
        # A signature's runner points into the interpreter's memory: keep it alive.
        self._interpreter = interpreter
        self._signatures = [_signature(interpreter, key) for key in sorted(interpreter.get_signature_list())]
        self._chosen: dict[tuple[Shape, ...], Signature] = {}
        if not self._signatures:
            raise ValueError("the file has no signatures")
        self._names = tuple(self._signatures[0].inputs)

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; a batch that no signature has is run in pieces."""
        refuse_state(state)
        arrays = {name: take_input(inputs, name) for name in self._names}
        shapes = tuple(array.shape for array in arrays.values())
        signature = self._chosen.get(shapes) or self._choose(shapes)
        count, step = shapes[0][0], signature.batch
        if count == step:
            return _call(signature, arrays)
        pieces = [
            _call(signature, {name: array[start : start + step] for name, array in arrays.items()})
            for start in range(0, count, step)
        ]
        return np.concatenate(pieces)[:count]

    def new_state(self) -> None:
        """None: the file carries nothing from call to call."""

    def _choose(self, shapes: tuple[Shape, ...]) -> Signature:
        rows = dict(zip(self._names, shapes, strict=True))
        fitting = [(cost, s) for s in self._signatures if (cost := s.cost(rows)) is not None]
        if not fitting:
            has = "; ".join(str([list(shape) for shape, _ in s.inputs.values()]) for s in self._signatures)
            raise RuntimeInputError(f"inputs of shape {list(shapes[0])} fit no signature of the file, which has {has}")
        signature = min(fitting, key=lambda pair: pair[0])[1]
        self._chosen[shapes] = signature
        return signature


def open_model(
    path: Path, threads: int, precision: Precision
) -> "TfliteSession | StatefulTfliteSession | TfliteDecoderSession":
    """Load `path` with `threads` threads; see `open_session`. The file alone decides the precision."""
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        names = [name for tensors in interpreter.get_signature_list().values() for name in tensors["inputs"]]
        if not any(name.startswith(PAST) for name in names):
            return TfliteSession(interpreter)
        # CompiledModel, imported there, loads all of LiteRT's accelerators, and older packages lack it.
        from pipeline.runtime.tflite_decoder import TfliteDecoderSession
        from pipeline.runtime.tflite_state import StatefulTfliteSession

        return (TfliteDecoderSession if set(INPUTS) <= set(names) else StatefulTfliteSession)(path, threads)
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"tflite (ai-edge-litert) cannot open {path}: {error}") from error


def _signature(interpreter: Interpreter, key: str) -> Signature:
    runner = interpreter.get_signature_runner(key)
    details = runner.get_input_details()
    inputs = {name: (tuple(int(n) for n in d["shape"]), np.dtype(d["dtype"])) for name, d in details.items()}
    return Signature(runner, inputs, next(iter(runner.get_output_details())))


def _call(signature: Signature, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    padded = {name: _pad(arrays[name], *target) for name, target in signature.inputs.items()}
    return signature.call(**padded)[signature.output]


def _pad(array: NDArray[np.generic], shape: Shape, dtype: np.dtype[Any]) -> NDArray[np.generic]:
    if array.shape == shape:
        return array.astype(dtype, copy=False)
    padded = np.zeros(shape, dtype)
    padded[tuple(slice(0, n) for n in array.shape)] = array
    return padded
