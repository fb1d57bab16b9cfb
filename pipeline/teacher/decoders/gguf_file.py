"""A GGUF file: its metadata and its tensors in float32. Reading it runs no code of the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import InputError, IntegrityError

_MAGIC = b"GGUF"
# What the reader raises on bytes that are no GGUF; each is a sign of a file that ends early or was changed.
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError)


class GgufFile:
    """An opened file.

    Attributes:
        path: of the file.
        architecture: its `general.architecture`.
    """

    def __init__(self, path: Path) -> None:
        """Read the metadata, and where the tensors lie.

        Raises:
            IntegrityError: it is no GGUF file, or a damaged one.
            InputError: it is a part of a model in several files, or of the other byte order.
        """
        # Only a language model needs the package.
        from gguf import GGUFReader

        self.path = path
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise IntegrityError(f"{path} is no GGUF file: it begins with {magic!r}, not {_MAGIC!r}; get it again")
        with self._undamaged():
            self._reader = GGUFReader(path)
        self.architecture = str(self.get("general.architecture", ""))
        if self._reader.byte_order == "S":
            raise InputError(f"{path} is written in the byte order of another kind of machine: convert it")
        if (parts := self.get("split.count", 1)) not in (0, 1):
            raise InputError(f"{path}: split.count is {parts}; join the parts into one file (llama-gguf-split --merge)")

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the metadata: a number, a text, or a list of them."""
        field = self._reader.get_field(key)
        with self._undamaged():
            return default if field is None else field.contents()

    def own(self, key: str, default: Any = None) -> Any:
        """A value that the architecture has of its own, such as `llama.block_count`."""
        return self.get(f"{self.architecture}.{key}", default)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the metadata."""
        return tuple(self._reader.fields)

    @cached_property
    def tensors(self) -> dict[str, Any]:
        """The reader's tensors by name."""
        return {tensor.name: tensor for tensor in self._reader.tensors}

    def read(self, name: str) -> Tensor:
        """A tensor in float32, in PyTorch's order of axes; quantized ones are multiplied out.

        Raises:
            InputError: its quantization is not read.
            IntegrityError: its bytes are damaged.
        """
        from gguf import dequantize

        tensor = self.tensors[name]
        try:
            with self._undamaged():
                array = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        except NotImplementedError as error:
            raise InputError(
                f"{self.path}: tensor {name} is in {tensor.tensor_type.name}, which is not read: "
                "take a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or a K-quant"
            ) from error
        return torch.from_numpy(array)

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise IntegrityError(f"{self.path} is a truncated or damaged GGUF file ({error}): get it again") from error
