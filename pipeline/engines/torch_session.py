"""PyTorch as one more session, so that the model that engines are compared with runs through their calls."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engines.spec import Arrays, ModelSpec
from pipeline.runtime.session import Inputs, Positions, State, own_state, refuse_state, take_input

# Examples of a batch where all have one shape.
_SAME_SHAPE = 64
# Positions of a batch, padding included, where the examples' shapes differ.
_POSITIONS = 4096


class TorchState(Positions):
    """Tensors in the order of `ModelSpec.state`; none before the first call, whose batch decides theirs."""

    def __init__(self, tensors: tuple[Tensor, ...] = (), length: int = 0, batch: int = 0) -> None:
        super().__init__(length, batch)
        self.tensors = tensors

    def copy(self) -> "TorchState":
        """See `State.copy`."""
        return TorchState(tuple(tensor.clone() for tensor in self.tensors), self.length, self.batch)


class TorchSession:
    """A module, or a function that is called like one, as a `Session`.

    Args:
        module: in evaluation mode; takes the inputs of `spec` in their order, and the state behind them. Returns the
            output; a model with a state returns the output and the new state, one tuple.
        spec: names, types and shapes. Where an axis other than the batch is open, `rows` pads examples with zeros to
            run them together: such a model must take a mask, and ignore what it leaves out.
    """

    def __init__(self, module: Callable[..., Any], spec: ModelSpec) -> None:
        self._module, self._spec = module, spec

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`."""
        arrays = [np.ascontiguousarray(take_input(inputs, one.name), one.dtype) for one in self._spec.inputs]
        tensors = [torch.from_numpy(array) for array in arrays]
        with torch.inference_mode():
            if not self._spec.state:
                refuse_state(state)
                return _rows(self._module(*tensors))
            own = own_state(state, TorchState, "PyTorch")
            own.begin(arrays)
            past = own.tensors or self._empty_state(own.batch)
            output, *present = self._module(*tensors, *past)
            own.tensors = tuple(present)
            own.advance(arrays)
            return _rows(output)

    def new_state(self) -> State | None:
        """See `Session.new_state`."""
        return TorchState() if self._spec.state else None

    def _empty_state(self, batch: int) -> tuple[Tensor, ...]:
        """Zeros of the largest size that is served."""
        largest = {axis: max(shape[axis] for shape in self._spec.shapes) for axis in self._spec.shapes[0]}
        return tuple(torch.zeros(one.shape({**largest, "batch": batch})) for one in self._spec.state)

    def batches(self, examples: Sequence[Arrays]) -> list[NDArray[np.int64]]:
        """See `rows.Batching`: in their order where all have one shape, otherwise longest first."""
        shapes = [self._open_sizes(example) for example in examples]
        if not shapes[0]:
            count = len(examples)
            return [np.arange(start, min(start + _SAME_SHAPE, count)) for start in range(0, count, _SAME_SHAPE)]
        positions = np.array([prod(sizes) for sizes in shapes])
        order = np.argsort(-positions, kind="stable")
        found, start = [], 0
        while start < len(order):
            size = max(1, _POSITIONS // int(positions[order[start]]))
            found.append(order[start : start + size])
            start += size
        return found

    def run_batch(self, examples: Sequence[Arrays]) -> NDArray[np.float32]:
        """See `rows.Batching`."""
        names = [tensor.name for tensor in self._spec.inputs]
        return self.run({name: _stack([example[name] for example in examples]) for name in names})

    def _open_sizes(self, example: Arrays) -> tuple[int, ...]:
        """Size of each axis that varies, but for the batch."""
        first = self._spec.inputs[0]
        shape = example[first.name].shape[1:]
        return tuple(size for size, axis in zip(shape, first.axes[1:], strict=True) if isinstance(axis, str))


def _rows(output: Tensor) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = output.float().numpy()
    return rows


def _stack(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays `[1, ...]` as one `[n, ...]`, padded with zeros behind."""
    if len({array.shape for array in arrays}) == 1:
        return np.concatenate(arrays)
    largest = np.max([array.shape[1:] for array in arrays], axis=0)
    stacked = np.zeros((len(arrays), *largest), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[tuple(slice(0, size) for size in array.shape[1:])] = array[0]
    return stacked
