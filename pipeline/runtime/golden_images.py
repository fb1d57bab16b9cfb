"""The self-check of a release that takes images.

golden.json holds real images with what each engine said of them, and checksums of how patterns are prepared. Patterns
are made here, so that they may be large; no engine runs on them.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.runtime.classes import probabilities
from pipeline.runtime.images import Preprocessing
from pipeline.runtime.pictures import Pixels
from pipeline.runtime.release import Release


def compare(release: Release, golden: Mapping[str, Any]) -> list[str]:
    """One line for each pattern that is prepared differently; if none is, for each image that is classified so."""
    how, limit = release.preprocessing, float(golden["max_difference"])
    if how is None:
        raise ValueError("it holds images, and the release takes none")
    problems = [
        f"a pattern of shape {entry['shape']} is prepared to {made}, expected {entry['sha256']}"
        for entry in golden["patterns"]
        if (made := fingerprint(how, tuple(entry["shape"]))) != entry["sha256"]
    ]
    if problems:
        return problems
    then = probabilities(np.array(golden["engines"][release.engine]["logits"]))
    now = probabilities(release.logits([unpack(entry) for entry in golden["images"]]))
    differences = np.abs(now - then).max(axis=1)
    return [
        f"image {index}: {release.engine} is {difference:.3g} away from a recorded probability, allowed {limit:.3g}"
        for index, difference in enumerate(differences)
        if not difference <= limit
    ]


def pattern(shape: tuple[int, ...]) -> Pixels:
    """Pixels without order that every machine makes alike, uint8 of this shape."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.uint64)
    # A multiplicative hash (Knuth); uint64 wraps around silently and everywhere the same.
    return ((numbers * np.uint64(2654435761)) >> np.uint64(11)).astype(np.uint8).reshape(shape)


def fingerprint(how: Preprocessing, shape: tuple[int, ...]) -> str:
    """SHA-256 of a pattern as it is prepared: the same wherever the preparation is, bit for bit."""
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
