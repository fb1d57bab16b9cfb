"""Rewriting a TensorFlow Lite file so that equal data is stored once.

A file with several signatures holds a subgraph for each, and the quantizer repeats every scale, and some buffers,
in all of them: 1.7 of 5.3 MB for five signatures of a text encoder. FlatBuffers lets tables share a vector.
"""

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_IDENTIFIER = b"TFL3"
# schema.fbs: Buffer.data is force_aligned to 16 bytes; kernels load from it directly.
_BUFFER_ALIGNMENT = 16
# Buffers larger than what a flatbuffer can address stay outside of it; smaller ones need not.
_OUTSIDE = 1


def read(content: bytes) -> Any:
    """The model of a `.tflite` file (`schema.ModelT`), every buffer inside."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > _OUTSIDE:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def write(model: Any) -> bytes:
    """The bytes of a model, with equal vectors and strings shared; no other change."""
    builder = _SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def rename_signature_tensors(model: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Rename what callers name: inputs and outputs from old to new; others keep their names."""
    for signature in model.signatureDefs:
        for tensors, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for tensor in tensors:
                name = tensor.name.decode()
                tensor.name = names.get(name, name).encode()


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]  # untyped base class
    """Returns the offset of an equal vector or string that was written before."""

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[np.generic]) -> int:  # noqa: N802  # the base class's name
        content = np.ascontiguousarray(x).tobytes()
        key = (x.dtype.str, content)
        if key not in self._written:
            alignment = _BUFFER_ALIGNMENT if x.dtype == np.uint8 else x.dtype.itemsize
            self.StartVector(x.dtype.itemsize, x.size, alignment)
            self.head = self.Head() - len(content)
            self.Bytes[self.Head() : self.Head() + len(content)] = content
            self._written[key] = self.EndVector()
        return self._written[key]

    def CreateString(self, s: str | bytes, *args: Any, **kwargs: Any) -> int:  # noqa: N802  # the base class's name
        key = ("string", s if isinstance(s, bytes) else s.encode())
        if key not in self._written:
            self._written[key] = super().CreateString(s, *args, **kwargs)
        return self._written[key]
