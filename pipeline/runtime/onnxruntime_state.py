"""Runs `.onnx` files that carry a state, with ONNX Runtime on the CPU."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime import OrtValue

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.session import PAST, PRESENT, Inputs, Positions, State, own_state, take_input

# Key of a file's metadata. It says that a call may find its past and leave its present in one buffer, of any size along
# the axis `CACHE`, and how many positions the file can tell apart.
MOST_POSITIONS = "most_positions"
CACHE = "cache"
_FIRST_POSITIONS = 256
_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(float)": np.dtype(np.float32),
    "tensor(bool)": np.dtype(np.bool_),
}


def declared_inputs(session: onnxruntime.InferenceSession) -> list[tuple[str, np.dtype[Any]]]:
    """Names and types of a graph's inputs, without those that are a state."""
    return [(node.name, _DTYPES[node.type]) for node in session.get_inputs() if not node.name.startswith(PAST)]


class SwappedState(Positions):
    """Two buffers a tensor: a call reads `past` and writes `present`, and then they change places.

    Nothing is copied, and nothing that a graph still reads is overwritten.
    """

    def __init__(self, length: int = 0, batch: int = 0) -> None:
        super().__init__(length, batch)
        self.past: list[OrtValue] = []
        self.present: list[OrtValue] = []

    def copy(self) -> "SwappedState":
        """See `State.copy`."""
        copied = SwappedState(self.length, self.batch)
        copied.past = [OrtValue.ortvalue_from_numpy(value.numpy().copy()) for value in self.past]
        copied.present = [OrtValue.ortvalue_from_numpy(value.numpy().copy()) for value in self.present]
        return copied


class SwappingSession:
    """A graph that takes a state as inputs `past.<name>` and returns it as outputs `present.<name>`."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._inputs = declared_inputs(session)
        self._output = session.get_outputs()[0].name
        self._state = [
            (node.name.removeprefix(PAST), tuple(node.shape), _DTYPES[node.type])
            for node in session.get_inputs()
            if node.name.startswith(PAST)
        ]

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; the state stays in the engine's buffers."""
        own = own_state(state, SwappedState, "ONNX Runtime")
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

    def new_state(self) -> SwappedState:
        """See `Session.new_state`."""
        return SwappedState()

    def _buffers(self, batch: int) -> list[OrtValue]:
        return [OrtValue.ortvalue_from_numpy(np.zeros((batch, *shape[1:]), dtype)) for _, shape, dtype in self._state]


class GrowingState(Positions):
    """One buffer a tensor, which a graph reads and writes in place; they get larger when a text does.

    Attributes:
        buffers: keys and values of every layer by name, with room for `capacity` positions.
        bound: the arrays of the inputs and of the output that `binding` holds. A call of the same shapes fills them.
    """

    def __init__(self, session: onnxruntime.InferenceSession, length: int = 0) -> None:
        super().__init__(length, batch=1)
        self._session = session
        self.binding = session.io_binding()
        self.buffers: dict[str, NDArray[np.float32]] = {}
        self.capacity = 0
        self.bound: dict[str, NDArray[Any]] = {}

    def copy(self) -> "GrowingState":
        """See `State.copy`."""
        copied = GrowingState(self._session, self.length)
        copied.hold({name: buffer.copy() for name, buffer in self.buffers.items()}, self.capacity)
        return copied

    def hold(self, buffers: Mapping[str, NDArray[np.float32]], capacity: int) -> None:
        """Take other buffers, and bind each as past and as present."""
        self.buffers, self.capacity = dict(buffers), capacity
        for name, buffer in self.buffers.items():
            value = OrtValue.ortvalue_from_numpy(buffer)  # keeps the array and copies nothing
            self.binding.bind_ortvalue_input(PAST + name, value)
            self.binding.bind_ortvalue_output(PRESENT + name, value)


class GrowingSession:
    """A graph whose file has the mark `MOST_POSITIONS`: it reads and writes its state in place."""

    def __init__(self, session: onnxruntime.InferenceSession, most: int) -> None:
        self._session, self._most = session, most
        self._inputs = declared_inputs(session)
        self._shapes = {node.name: tuple(node.shape) for node in session.get_inputs()}
        output = session.get_outputs()[0]
        self._output, self._output_shape = output.name, tuple(output.shape)

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`. A call that makes a text longer than the file has positions is a RuntimeInputError."""
        own = own_state(state, GrowingState, "ONNX Runtime")
        arrays = {name: np.asarray(take_input(inputs, name), dtype) for name, dtype in self._inputs}
        if any(name not in own.bound or own.bound[name].shape != array.shape for name, array in arrays.items()):
            self._bind(own, arrays)
        new = list(arrays.values())
        self._make_room(own, own.length + next(array.shape[1] for array in new if array.ndim > 1))
        for name, array in arrays.items():
            own.bound[name][...] = array
        self._session.run_with_iobinding(own.binding)
        own.advance(new)
        return own.bound[self._output].copy()

    def new_state(self) -> GrowingState:
        """See `Session.new_state`."""
        return GrowingState(self._session)

    def _bind(self, own: GrowingState, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Bind arrays for inputs of these shapes, and for their output."""
        sizes = self._sizes(arrays)
        own.bound = {name: array.copy() for name, array in arrays.items()}
        for name, array in own.bound.items():
            own.binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array))
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in self._output_shape]
        own.bound[self._output] = np.empty(shape, np.float32)
        own.binding.bind_ortvalue_output(self._output, OrtValue.ortvalue_from_numpy(own.bound[self._output]))

    def _sizes(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Size of each axis that varies; RuntimeInputError where an input has another shape than the file's."""
        sizes: dict[str, int] = {}
        for name, array in arrays.items():
            wanted = self._shapes[name]
            fits = array.ndim == len(wanted) and all(
                size > 0 and size == (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
                for axis, size in zip(wanted, array.shape, strict=True)
            )
            if not fits:
                shown = ", ".join(str(axis) for axis in wanted)
                raise RuntimeInputError(f"the input {name!r} has the shape {list(array.shape)}, not [{shown}]")
        return sizes

    def _make_room(self, own: GrowingState, positions: int) -> None:
        """Double the buffers until they hold so many positions."""
        if positions <= own.capacity:
            return
        if positions > self._most:
            raise RuntimeInputError(f"the text gets {positions} tokens long, but the model has {self._most} positions")
        capacity = max(own.capacity, _FIRST_POSITIONS)
        while capacity < positions:
            capacity *= 2
        capacity = min(capacity, self._most)
        grown = {}
        for name, wanted in self._shapes.items():
            if name.startswith(PAST):
                key = name.removeprefix(PAST)
                buffer = np.zeros([capacity if axis == CACHE else axis for axis in wanted], np.float32)
                if own.length:
                    buffer[:, :, : own.length] = own.buffers[key][:, :, : own.length]
                grown[key] = buffer
        own.hold(grown, capacity)
