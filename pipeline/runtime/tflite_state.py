"""Runs `.tflite` files that take a state and return it, with LiteRT's CompiledModel.

A signature runner copies every input in and every output out on each call. CompiledModel works on buffers that are
given to it, so the state stays where it is.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.options import CpuOptions, Options
from ai_edge_litert.tensor_buffer import TensorBuffer
from numpy.typing import NDArray

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.quiet import hold_back_at_exit, native_messages_held_back
from pipeline.runtime.session import PAST, PRESENT, Inputs, Positions, State, own_state, take_input

Shape = tuple[int, ...]


class TfliteState(Positions):
    """Two buffers a tensor: a call reads `past` and writes `present`, and then they change places.

    Nothing is copied, and nothing that a kernel still reads is overwritten.
    """

    def __init__(self, past: "Buffers", present: "Buffers", length: int = 0, batch: int = 0) -> None:
        super().__init__(length, batch)
        self.past, self.present = past, present

    def copy(self) -> "TfliteState":
        """See `State.copy`."""
        return TfliteState(self.past.copy(), self.present.copy(), self.length, self.batch)


class Buffers:
    """Memory of LiteRT for each tensor of a state, zero at first."""

    def __init__(self, make: Callable[[str], TensorBuffer], shapes: Mapping[str, Shape]) -> None:
        self._make, self._shapes = make, shapes
        self.named = {name: make(name) for name in shapes}
        for name, shape in shapes.items():
            self.named[name].write(np.zeros(shape, np.float32))

    def copy(self) -> "Buffers":
        """New buffers with the same content."""
        copied = Buffers(self._make, self._shapes)
        for name, shape in self._shapes.items():
            copied.named[name].write(self.named[name].read(int(np.prod(shape)), np.float32))
        return copied


@dataclass(frozen=True)
class _Signature:
    """One entry point with its fixed shapes, and buffers for what is no state.

    Attributes:
        inputs: shape and type by name, without the state; in the order of the file.
        state: shape by name.
        buffers: of `inputs` and of the one output, by the file's names.
    """

    index: int
    input_order: tuple[str, ...]
    output_order: tuple[str, ...]
    inputs: dict[str, tuple[Shape, np.dtype[Any]]]
    state: dict[str, Shape]
    output: str
    output_shape: Shape
    buffers: dict[str, TensorBuffer]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(shape for shape, _ in self.inputs.values())


class StatefulTfliteSession:
    """A file whose signatures take `past.<name>` and return `present.<name>`, all of the same shapes."""

    def __init__(self, path: Path, threads: int) -> None:
        self._model = open_compiled(path, threads)
        signatures = [_signature(self._model, key) for key in self._model.get_signature_list()]
        if any(signature.state != signatures[0].state for signature in signatures):
            raise ValueError("its signatures take states of different shapes: export one batch a file")
        self._signatures = {signature.shapes: signature for signature in signatures}
        self._names = tuple(signatures[0].inputs)
        # A buffer that is made for one signature serves all: the state's shapes are the same.
        self._key, self._state_shapes = next(iter(self._model.get_signature_list())), signatures[0].state

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; the shapes must be those of a signature, since padding would enter the state."""
        own = own_state(state, TfliteState, "TensorFlow Lite")
        arrays = [take_input(inputs, name) for name in self._names]
        shapes = tuple(array.shape for array in arrays)
        if shapes not in self._signatures:
            has = "; ".join(str([list(shape) for shape in shapes]) for shapes in self._signatures)
            raise RuntimeInputError(
                f"inputs of shapes {[list(shape) for shape in shapes]} are no signature of the file, which has {has}"
            )
        signature = self._signatures[shapes]
        own.begin(arrays)
        for name, array in zip(self._names, arrays, strict=True):
            signature.buffers[name].write(array.astype(signature.inputs[name][1], copy=False))
        held = signature.buffers | {PAST + name: one for name, one in own.past.named.items()}
        held |= {PRESENT + name: one for name, one in own.present.named.items()}
        self._model.run_by_index(
            signature.index,
            [held[name] for name in signature.input_order],
            [held[name] for name in signature.output_order],
        )
        own.past, own.present = own.present, own.past
        own.advance(arrays)
        output: NDArray[np.float32] = signature.buffers[signature.output].read(
            int(np.prod(signature.output_shape)), np.float32
        )
        return output.reshape(signature.output_shape)

    def new_state(self) -> TfliteState:
        """See `Session.new_state`."""
        key, shapes = self._key, self._state_shapes

        def make(name: str) -> TensorBuffer:
            return self._model.create_input_buffer_by_name(key, PAST + name)

        return TfliteState(Buffers(make, shapes), Buffers(make, shapes))


def open_compiled(path: Path, threads: int) -> CompiledModel:
    """Load a file for calls on buffers that are given."""
    # Without a cache, XNNPACK packs every weight once a signature. This name means memory, and needs memfd_create.
    cache = ":memory" if sys.platform == "linux" else ""
    options = CpuOptions(num_threads=threads, xnnpack_weight_cache_path=cache)
    hold_back_at_exit()
    with native_messages_held_back():
        model = CompiledModel.from_file(str(path), options=Options(cpu_options=options))
        _write_once(model)
        return model


def _write_once(model: CompiledModel) -> None:
    """Write into a buffer: the first write of a process looks for accelerators, and tells of them."""
    key, names = next(iter(model.get_signature_list().items()))
    details = model.get_input_tensor_details(key)[names["inputs"][0]]
    buffer = model.create_input_buffer_by_name(key, names["inputs"][0])
    buffer.write(np.zeros(tuple(details["shape"]), np.dtype(details["dtype"])))


def _signature(model: CompiledModel, key: str) -> _Signature:
    index = model.get_signature_index(key)
    names = model.get_signature_list()[key]
    given, returned = model.get_input_tensor_details(key), model.get_output_tensor_details(key)
    inputs = {
        name: (tuple(given[name]["shape"]), np.dtype(given[name]["dtype"]))
        for name in names["inputs"]
        if not name.startswith(PAST)
    }
    [output] = [name for name in names["outputs"] if not name.startswith(PRESENT)]
    buffers = {name: model.create_input_buffer_by_name(key, name) for name in inputs}
    buffers[output] = model.create_output_buffer_by_name(key, output)
    return _Signature(
        index=index,
        input_order=tuple(names["inputs"]),
        output_order=tuple(names["outputs"]),
        inputs=inputs,
        state={n.removeprefix(PAST): tuple(given[n]["shape"]) for n in names["inputs"] if n.startswith(PAST)},
        output=output,
        output_shape=tuple(returned[output]["shape"]),
        buffers=buffers,
    )
