"""States of OpenVINO models: variables inside an infer request, which no other request sees.

There are two kinds. Buffers of a fixed size are written by position, so rewinding only counts. The cache of a language
model grows: each call appends to it, whatever its position is. There, rewinding hides what is behind: a file with
such a cache has the input `MASK`, which a session fills and no caller sees. Taking the hidden positions out costs a
copy of the whole cache, so that happens once they are many.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from pipeline.runtime.session import Positions

# float32 [1, 1, new, held + new], added to the scores of attention: 0 for what a new token sees, -inf for what comes
# behind it, and for what was rewound over.
MASK = "mask"

# Hidden positions that a cache may hold: so many, or this share of what counts. Every call reads them in vain.
_FEW, _SHARE = 32, 8


class OpenVinoState(Positions):
    """An infer request whose variables are buffers of a fixed size."""

    def __init__(self, compiled: openvino.CompiledModel, length: int = 0, batch: int = 0) -> None:
        super().__init__(length, batch)
        self._compiled = compiled
        self._bound: dict[int, NDArray[np.generic]] = {}
        self.request = compiled.create_infer_request()

    def copy(self) -> "OpenVinoState":
        """See `State.copy`."""
        copied = OpenVinoState(self._compiled, self.length, self.batch)
        if self.batch:  # before the first call, variables have no shape yet
            _give(self.request, copied.request)
        return copied

    def infer(self, arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.float32]:
        """One call; the output is a copy.

        Args:
            arrays: the model's inputs, of its types, in its order. They are copied into buffers that stay bound while
                shapes stay the same.
        """
        for index, array in enumerate(arrays):
            bound = self._bound.get(index)
            if bound is not None and bound.shape == array.shape:
                bound[...] = array
            else:
                self._bound[index] = array.copy()
                self.request.set_input_tensor(index, openvino.Tensor(self._bound[index], shared_memory=True))
        # `infer` does the same, and spends 45 microseconds on its dictionaries.
        self.request.start_async()
        self.request.wait()
        output: NDArray[np.float32] = self.request.get_output_tensor(0).data.copy()
        return output


class GrowingState(OpenVinoState):
    """An infer request whose variables `[batch, heads, held, size]` grow with each call."""

    def __init__(self, compiled: openvino.CompiledModel, length: int = 0, batch: int = 0) -> None:
        super().__init__(compiled, length, batch)
        self._mask_port = next(i for i, port in enumerate(compiled.inputs) if MASK in port.get_names())
        # Where each position lies in the variables, and how much they hold in all.
        self._places = list(range(length))
        self._held = length
        self._scores = np.zeros(256, np.float32)

    def rewind(self, length: int) -> None:
        """See `State.rewind`."""
        super().rewind(length)
        if length == 0:
            self.request.reset_state()
            self._places, self._held = [], 0
            self._scores[:] = 0
        else:
            self._scores[self._places[length:]] = -np.inf
            del self._places[length:]
            if self._held - length > max(_FEW, length // _SHARE):
                self._take_out_hidden()

    def copy(self) -> "GrowingState":
        """See `State.copy`."""
        copied = GrowingState(self._compiled, self.length, self.batch)
        if self.length:
            _give(self.request, copied.request, self._places)
        return copied

    def infer(self, arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.float32]:
        """See `OpenVinoState.infer`; `arrays` are those of the caller, without `MASK`."""
        new = next(array.shape[1] for array in arrays if array.ndim > 1)
        held = self._held + new
        if held > len(self._scores):
            self._scores = np.concatenate([self._scores, np.zeros(held, np.float32)])
        mask = causal_mask(self._scores[:held], new)
        self.request.set_input_tensor(self._mask_port, openvino.Tensor(mask, shared_memory=True))
        output = super().infer(arrays)
        self._places.extend(range(self._held, held))
        self._held = held
        return output

    def _take_out_hidden(self) -> None:
        _give(self.request, self.request, self._places)
        self._places, self._held = list(range(self.length)), self.length
        self._scores[:] = 0


def causal_mask(scores: NDArray[np.float32], new: int) -> NDArray[np.float32]:
    """`MASK` for the `new` last of `[held + new]` places, where `scores` is 0 for those that count and -inf else."""
    if new == 1:
        return scores[None, None, None]
    mask = np.repeat(scores[None], new, 0)
    mask[:, -new:] = np.triu(np.full((new, new), -np.inf, np.float32), 1)
    return mask[None, None]


def _give(source: openvino.InferRequest, target: openvino.InferRequest, places: Sequence[int] | None = None) -> None:
    """Copy variables; `places` are those of their third axis to take, all for None."""
    values: dict[str, Any] = {variable.name: variable.state.data for variable in source.query_state()}
    for variable in target.query_state():
        value = values[variable.name]
        variable.state = openvino.Tensor(value.copy() if places is None else value.take(places, 2))
