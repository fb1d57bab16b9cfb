"""Turns a picture into the array that a model takes, by the same code in training and on the device.

preprocessing.json of a release says how. Pillow is needed for files only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.runtime.errors import RuntimeInputError, TamperedError
from pipeline.runtime.pictures import Pixels, open_image
from pipeline.runtime.resize import RESAMPLING, resize

FITS = ("crop", "stretch")
# Of red, green and blue in gray, in 65536ths (ITU-R BT.601, in the integers that Pillow uses).
_LUMA = np.array([19595, 38470, 7471], np.uint32)


@dataclass(frozen=True)
class Preprocessing:
    """How images are made ready: size, colours, and what the classes are called, in the order of the model's outputs.

    `fit` says what happens to an image of other proportions: `crop` keeps its middle, `stretch` distorts all of it.
    """

    height: int
    width: int
    channels: int
    fit: str
    labels: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The content of preprocessing.json."""
        return {**asdict(self), "labels": list(self.labels), "resampling": RESAMPLING}

    def prepare(self, image: Pixels) -> Pixels:
        """Colours and size of one image as the model takes it.

        Args:
            image: uint8 `[h, w]` (gray), `[h, w, 1]` (gray) or `[h, w, 3]` (red, green, blue).

        Returns:
            uint8 `[channels, height, width]`.

        Raises:
            RuntimeInputError: another shape or dtype, or no pixels.
        """
        pixels = _in_colours(_checked(image), self.channels)
        if self.fit == "crop":
            pixels = _middle(pixels, self.height, self.width)
        return np.ascontiguousarray(resize(pixels, self.height, self.width).transpose(2, 0, 1))


def read_preprocessing(path: Path) -> Preprocessing:
    """Read preprocessing.json.

    Raises:
        TamperedError: it cannot be understood, or asks for a preparation that this runtime lacks.
    """
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"{path} is damaged ({type(error).__name__}: {error}): fetch the release again") from error


def as_list(images: Sequence[str | Path | Pixels]) -> list[str | Path | Pixels]:
    """The images of a sequence or of an array `[n, h, w, c]`.

    Raises:
        RuntimeInputError: it is one image.
    """
    if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise RuntimeInputError("classify takes a list of images: write classify([image])")
    return list(images)


def prepare_all(images: Sequence[str | Path | Pixels], how: Preprocessing) -> Pixels:
    """Every image as the model takes it, uint8 `[n, channels, height, width]`.

    Raises:
        RuntimeInputError: naming every image that cannot be used; arrays by their number, from 0.
        EngineError: Pillow is needed and not installed.
    """
    prepared = np.empty((len(images), how.channels, how.height, how.width), np.uint8)
    problems = []
    for index, image in enumerate(images):
        is_path = isinstance(image, str | Path)
        try:
            prepared[index] = how.prepare(open_image(image) if isinstance(image, str | Path) else image)
        except RuntimeInputError as error:
            problems.append(str(error) if is_path else f"image {index}: {error}")
    if problems:
        raise RuntimeInputError("\n".join(problems))
    return prepared


def _parse(content: Mapping[str, Any]) -> Preprocessing:
    sizes = {key: int(content[key]) for key in ("height", "width", "channels")}
    made = Preprocessing(**sizes, fit=content["fit"], labels=tuple(map(str, content["labels"])))
    if made.fit not in FITS or made.channels not in (1, 3) or min(made.height, made.width) < 1:
        raise ValueError(f"fit {made.fit!r}, {made.channels} channels, {made.height} x {made.width} pixels")
    if content["resampling"] != RESAMPLING:
        raise ValueError(f"resampling is {content['resampling']!r}, and this runtime knows {RESAMPLING!r}")
    return made


def _checked(image: Pixels) -> Pixels:
    """As `[h, w, 1 or 3]`."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise RuntimeInputError(f"an image must be a path or a uint8 array with values 0 to 255, and this is {kind}")
    shaped = image[..., None] if image.ndim == 2 else image
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3) or 0 in shaped.shape:
        raise RuntimeInputError(f"an image has shape {list(image.shape)}: [h, w], [h, w, 1] or [h, w, 3] is needed")
    return shaped


def _in_colours(image: Pixels, channels: int) -> Pixels:
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    gray: Pixels = ((image @ _LUMA + (1 << 15)) >> 16).astype(np.uint8)
    return gray[..., None]


def _middle(image: Pixels, height: int, width: int) -> Pixels:
    """The largest centered part with the proportions of the target."""
    have_height, have_width = image.shape[:2]
    rows = min(have_height, max(1, round(have_width * height / width)))
    columns = min(have_width, max(1, round(have_height * width / height)))
    top, left = (have_height - rows) // 2, (have_width - columns) // 2
    return image[top : top + rows, left : left + columns]
