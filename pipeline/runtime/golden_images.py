"""Images in golden.json: real ones, and checksums of how patterns are prepared.

Patterns are made here, so that they may be large; no engine runs on them.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.runtime.images import Preprocessing
from pipeline.runtime.pictures import Pixels


def pattern(shape: tuple[int, ...]) -> Pixels:
    """Pixels without order that every machine makes alike, uint8 of this shape."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.uint64)
    # A multiplicative hash (Knuth); uint64 wraps around silently and everywhere the same.
    return ((numbers * np.uint64(2654435761)) >> np.uint64(11)).astype(np.uint8).reshape(shape)


def fingerprint(how: Preprocessing, shape: tuple[int, ...]) -> str:
    """SHA-256 of a prepared pattern: two machines give the same if they prepare images alike, bit for bit."""
    return hashlib.sha256(how.prepare(pattern(shape)).tobytes()).hexdigest()


def pack(image: Pixels) -> dict[str, Any]:
    """An image as JSON."""
    content = base64.b64encode(zlib.compress(image.tobytes(), 9)).decode("ascii")
    return {"shape": list(image.shape), "zlib_base64": content}


def unpack(entry: Mapping[str, Any]) -> Pixels:
    """The image that `pack` was given.

    Raises:
        ValueError: the entry is damaged.
    """
    try:
        content = zlib.decompress(base64.b64decode(entry["zlib_base64"], validate=True))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(content, np.uint8).reshape(entry["shape"])
