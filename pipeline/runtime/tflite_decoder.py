"""Runs the `.tflite` files of language models, whose cache is one buffer a tensor that each call writes in place.

A file has signatures for a few lengths of a call and a few sizes of the cache. A session cuts what it is given into
these lengths. The last piece may be filled up: what stands behind the text is masked, and later calls overwrite it. A
state moves to the next size of the cache when a text needs it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.tensor_buffer import TensorBuffer
from numpy.typing import NDArray

from pipeline.runtime.decoder_calls import INPUTS, POSITION, ROWS, TOKENS, require_call, require_room
from pipeline.runtime.pieces import Piece, cut
from pipeline.runtime.session import PAST, PRESENT, Inputs, Positions, State, own_state, take_input
from pipeline.runtime.tflite_state import open_compiled

# The axis of the cache in keys [kv_heads, head_dim, cache] and in values [kv_heads, cache, head_dim].
_AXES = {"keys": 2, "values": 1}
_Buffers = dict[str, TensorBuffer]
_Numbers = NDArray[Any]


class DecoderState(Positions):
    """One buffer a tensor, of the smallest size that its text needed so far.

    Attributes:
        cache: positions that the buffers hold.
        buffers: by the tensors' names.
        calls: the inputs and outputs of each signature that ran with these buffers, by its index.
    """

    def __init__(self, make: Callable[[int], _Buffers], cache: int) -> None:
        super().__init__()
        self._make, self.cache, self.buffers = make, cache, make(cache)
        self.calls: dict[int, tuple[list[TensorBuffer], list[TensorBuffer]]] = {}

    def copy(self) -> "DecoderState":
        """See `State.copy`."""
        copied = DecoderState(self._make, self.cache)
        copied.length, copied.batch = self.length, self.batch
        for name, buffer in self.buffers.items():
            copied.buffers[name].write(_read(buffer))
        return copied

    def grow(self, cache: int) -> None:
        """Move to buffers of `cache` positions."""
        held, margin = self.buffers, cache - self.cache
        self.cache, self.buffers = cache, self._make(cache)
        self.calls.clear()
        for name, buffer in held.items():
            axis = _AXES[name.partition(".")[0]]
            self.buffers[name].write(np.pad(_read(buffer), [(0, margin if one == axis else 0) for one in range(3)]))


@dataclass(frozen=True)
class _Signature:
    """One entry point.

    Attributes:
        given: names of its inputs in the file's order.
        returned: names of its outputs, the same.
        own: buffers of what is no state.
        output: the name of the logits.
        shape: of the logits.
        state: shapes of the tensors of the state, by name.
    """

    index: int
    tokens: int
    rows: int
    cache: int
    given: tuple[str, ...]
    returned: tuple[str, ...]
    own: _Buffers
    output: str
    shape: tuple[int, int]
    state: Mapping[str, tuple[int, ...]]

    @property
    def starts(self) -> bool:
        """Whether it runs at position 0 alone, and does not read the cache."""
        return POSITION not in self.own

    def buffers(self, state: DecoderState) -> tuple[list[TensorBuffer], list[TensorBuffer]]:
        """Those of its inputs and outputs: the state's stand at both ends."""
        if self.index not in state.calls:
            past, present = ({prefix + name: one for name, one in state.buffers.items()} for prefix in (PAST, PRESENT))
            held = self.own | past | present
            state.calls[self.index] = [held[name] for name in self.given], [held[name] for name in self.returned]
        return state.calls[self.index]


class TfliteDecoderSession:
    """See `Session`; the call is that of `pipeline.engines.decoders.decoder_spec`."""

    def __init__(self, path: Path, threads: int) -> None:
        self._model = open_compiled(path, threads)
        found = [_signature(self._model, key) for key in self._model.get_signature_list()]
        # By cache and length; those with few rows first, and before others those that start a text.
        self._signatures: dict[int, dict[int, list[_Signature]]] = {}
        for one in sorted(found, key=lambda one: (one.rows, not one.starts)):
            self._signatures.setdefault(one.cache, {}).setdefault(one.tokens, []).append(one)
        self._keys = {one.cache: key for one, key in zip(found, self._model.get_signature_list(), strict=True)}

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """See `Session.run`; a text that is longer than the largest cache is a RuntimeInputError too."""
        own = own_state(state, DecoderState, "TensorFlow Lite's decoders")
        tokens, position, rows = (take_input(inputs, name) for name in INPUTS)
        require_call(tokens, position, rows, own.length)
        own.begin([tokens])
        self._make_room(own, tokens.shape[1])
        if tokens.shape[1] == rows.size == 1:
            logits = self._call(own, self._signatures[own.cache][1][0], tokens, own.length, rows)
        else:
            logits = self._run_pieces(own, tokens, rows)
        own.advance([tokens])
        return logits

    def new_state(self) -> DecoderState:
        """See `Session.new_state`."""
        return DecoderState(self._make_buffers, min(self._signatures))

    def _make_room(self, state: DecoderState, count: int) -> None:
        wanted = state.length + count
        require_room(state.length, count, max(self._signatures))
        if wanted > state.cache:
            state.grow(min(cache for cache in self._signatures if cache >= wanted))

    def _make_buffers(self, cache: int) -> _Buffers:
        """Zeros: what a call has not written has no weight, and no weight times NaN would be NaN."""
        shapes = self._signatures[cache][1][0].state
        made = {name: self._model.create_input_buffer_by_name(self._keys[cache], PAST + name) for name in shapes}
        for name, shape in shapes.items():
            made[name].write(np.zeros(shape, np.float32))
        return made

    def _run_pieces(self, state: DecoderState, tokens: _Numbers, rows: _Numbers) -> NDArray[np.float32]:
        by_length = self._signatures[state.cache]
        lengths = {length: signatures[-1].rows for length, signatures in by_length.items()}
        logits = np.empty((rows.size, by_length[1][0].shape[1]), np.float32)
        for piece in cut(tokens.shape[1], rows, lengths, state.cache - state.length):
            part = np.zeros((1, piece.length), np.int32)
            part[:, : piece.count] = tokens[:, piece.start : piece.start + piece.count]
            position = state.length + piece.start
            fitting = [one for one in by_length[piece.length] if position == 0 or not one.starts]
            for signature, places in _batches(piece, rows, fitting):
                given = np.zeros(signature.rows, np.int32)
                given[: places.size] = rows[places] - piece.start
                found = self._call(state, signature, part, position, given)
                logits[places] = found[: places.size]
        return logits

    def _call(
        self, state: DecoderState, signature: _Signature, tokens: _Numbers, position: int, rows: _Numbers
    ) -> NDArray[np.float32]:
        own = signature.own
        own[TOKENS].write(tokens.astype(np.int32, copy=False))
        if not signature.starts:
            own[POSITION].write(np.array([position], np.int32))
        if signature.tokens > 1:
            own[ROWS].write(rows.astype(np.int32, copy=False))
        self._model.run_by_index(signature.index, *signature.buffers(state))
        output: NDArray[np.float32] = own[signature.output].read(signature.shape[0] * signature.shape[1], np.float32)
        return output.reshape(signature.shape)


def _batches(
    piece: Piece, rows: _Numbers, signatures: list[_Signature]
) -> Iterator[tuple[_Signature, NDArray[np.int64]]]:
    """The calls of a piece, one as a rule: which signature, and the places in `rows` that it gives the logits of."""
    places = np.flatnonzero((rows >= piece.start) & (rows < piece.start + piece.count))
    signature = next((one for one in signatures if one.rows >= places.size), signatures[-1])
    # A call without rows still fills the cache. One that is repeated for more rows fills it with the same again.
    for start in range(0, max(places.size, 1), signature.rows):
        yield signature, places[start : start + signature.rows]


def _read(buffer: TensorBuffer) -> NDArray[np.float32]:
    shape = tuple(buffer.get_tensor_details()["shape"])
    content: NDArray[np.float32] = buffer.read(int(np.prod(shape)), np.float32)
    return content.reshape(shape)


def _signature(model: CompiledModel, key: str) -> _Signature:
    names = model.get_signature_list()[key]
    given, returned = model.get_input_tensor_details(key), model.get_output_tensor_details(key)
    shapes = {name: tuple(details["shape"]) for name, details in given.items()}
    [output] = [name for name in names["outputs"] if not name.startswith(PRESENT)]
    own = {name: model.create_input_buffer_by_name(key, name) for name in names["inputs"] if name in INPUTS}
    state = {name.removeprefix(PAST): shape for name, shape in shapes.items() if name.startswith(PAST)}
    return _Signature(
        index=model.get_signature_index(key),
        tokens=shapes[TOKENS][1],
        rows=shapes[ROWS][0],
        cache=state["keys.0"][_AXES["keys"]],
        given=tuple(names["inputs"]),
        returned=tuple(names["outputs"]),
        own=own | {output: model.create_output_buffer_by_name(key, output)},
        output=output,
        shape=tuple(returned[output]["shape"]),
        state=state,
    )
