"""Writes a `.tflite` file from constants and graphs, for graphs that are written by hand.

Constants are stored once however many signatures use them. They lie behind the flatbuffer, where the format keeps
large buffers: packing them inside would copy them several times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.engines.tflite import flatbuffer

# Kernels load weights where they lie in the mapped file; a cache line is the widest load.
_ALIGNMENT = 64
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}
# The version of each operator that has what graphs here use; others are of version 1.
_VERSIONS = {"FULLY_CONNECTED": 12, "EMBEDDING_LOOKUP": 3}


@dataclass(frozen=True)
class Constant:
    """Data of the file, to be used in any of its graphs.

    Attributes:
        name: of its tensor in each graph.
        type: `schema.TensorType`; numbers of 4 bits are packed in pairs, the first one in the low half.
        scales: float32, one for each row of an int8 or int4 matrix.
        blocks: the scales of blocks along the inner axis, float16 `[rows, blocks]`, instead of `scales`.
    """

    name: str
    buffer: int
    shape: tuple[int, ...]
    type: int
    scales: NDArray[np.float32] | None = None
    blocks: "Constant | None" = None


class File:
    """A model in the making: constants first, then a graph for each signature, then `write`.

    Attributes:
        PRIVATE: how the names of constants begin that graphs make for themselves.
    """

    PRIVATE = "constant."

    def __init__(self, description: str) -> None:
        self._model = schema.ModelT(version=3, description=description.encode(), operatorCodes=[], subgraphs=[])
        self._model.signatureDefs, self._model.metadata = [], []
        self._model.buffers = [schema.BufferT()]  # number 0 means no data
        self._contents: list[NDArray[np.uint8]] = []
        self._known: dict[tuple[tuple[int, ...], int, bytes], Constant] = {}
        self._codes: dict[str, int] = {}

    def constant(self, name: str, array: NDArray[Any], scales: NDArray[np.float32] | None = None) -> Constant:
        """Store an array: float32, float16, int32, or int8 with `scales`."""
        array = np.ascontiguousarray(array)
        return Constant(name, self._store(array), array.shape, TYPES[array.dtype], scales)

    def shared(self, array: NDArray[Any]) -> Constant:
        """Store a small array without a name of its own, or give the equal one that was stored before."""
        key = (array.shape, TYPES[array.dtype], array.tobytes())
        if key not in self._known:
            self._known[key] = self.constant(f"{self.PRIVATE}{len(self._known)}", array)
        return self._known[key]

    def nibbles(self, name: str, packed: NDArray[np.uint8], columns: int, blocks: NDArray[np.float16]) -> Constant:
        """Store a matrix of 4 bits, `[rows, columns / 2]` bytes, with the scales of its blocks."""
        scales, shape = self.constant(f"{name}.scales", blocks), (len(packed), columns)
        return Constant(name, self._store(packed), shape, schema.TensorType.INT4, blocks=scales)

    def note(self, name: str, content: bytes) -> None:
        """Store metadata; see `flatbuffer.metadata`."""
        self._model.metadata.append(schema.MetadataT(name.encode(), self._store(np.frombuffer(content, np.uint8))))

    def _store(self, array: NDArray[Any]) -> int:
        self._contents.append(array.reshape(-1).view(np.uint8))
        self._model.buffers.append(schema.BufferT(offset=_ALIGNMENT, size=self._contents[-1].size))
        return len(self._model.buffers) - 1

    def code(self, operator: str) -> int:
        """The number of an operator's kind in this file."""
        if operator not in self._codes:
            builtin = getattr(schema.BuiltinOperator, operator)
            # Readers of before 2020 know codes up to 127, in the field that is now deprecated.
            made = schema.OperatorCodeT(min(builtin, 127), None, _VERSIONS.get(operator, 1), builtin)
            self._codes[operator] = len(self._codes)
            self._model.operatorCodes.append(made)
        return self._codes[operator]

    def add(self, graph: Any, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Take a finished `schema.SubGraphT` and its signature: tensors by the names that callers use."""
        maps = [
            [schema.TensorMapT(name.encode(), index) for name, index in names.items()] for names in (inputs, outputs)
        ]
        self._model.signatureDefs.append(schema.SignatureDefT(*maps, key.encode(), len(self._model.subgraphs)))
        self._model.subgraphs.append(graph)

    def write(self, out: Path) -> None:
        """Write the file. Equal calls before it write equal bytes."""
        start = len(self._pack())
        for buffer, content in zip(self._model.buffers[1:], self._contents, strict=True):
            buffer.offset = start = _aligned(start)
            start += content.size
        with out.open("wb") as file:
            # The offsets are now others, and their fields as long as before.
            file.write(self._pack())
            for buffer, content in zip(self._model.buffers[1:], self._contents, strict=True):
                file.write(bytes(buffer.offset - file.tell()))
                file.write(content.data)

    def _pack(self) -> bytes:
        # Signatures repeat the scales of each matrix, which `flatbuffer.write` stores once.
        return flatbuffer.write(self._model)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
