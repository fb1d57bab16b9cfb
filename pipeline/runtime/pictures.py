"""Reading PNG and JPEG files with Pillow, which a device that has its images as arrays does without."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError, RuntimeInputError

Pixels = NDArray[np.uint8]

_FORMATS = ("PNG", "JPEG")
_GRAY_MODES, _COLOUR_MODES = ("1", "L"), ("RGB", "P", "CMYK", "YCbCr")
_ALPHA_MODES = {"LA": "L", "PA": "RGB", "RGBA": "RGB"}


def open_image(path: str | Path) -> Pixels:
    """Read a PNG or JPEG file, turned upright as its EXIF says.

    Returns:
        uint8 `[h, w]` of a grayscale file, `[h, w, 3]` of one in colours.

    Raises:
        RuntimeInputError: no such file, no image, truncated, transparent, or of more than 8 bits; with the path.
        EngineError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise EngineError(
            f"reading {path} needs {error.name}, which is not installed: pip install pillow, or pass arrays"
        ) from error
    try:
        with Image.open(path, formats=_FORMATS) as file:
            # Decodes the pixels: what is truncated shows here.
            return _pixels(ImageOps.exif_transpose(file))
    except FileNotFoundError:
        raise RuntimeInputError(f"{path}: no such file") from None
    except Exception as error:  # Pillow's readers raise whatever damaged bytes led them to
        raise RuntimeInputError(f"{path}: {_reason(error)}") from error


def _pixels(image: Any) -> Pixels:
    """The pixels of a Pillow image."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema()[0] < 255:
            raise ValueError("it is transparent, and nothing says what is behind it: save it without transparency")
    if image.mode in _GRAY_MODES or _ALPHA_MODES.get(image.mode) == "L":
        return np.asarray(image.convert("L"))
    if image.mode in _COLOUR_MODES or image.mode in _ALPHA_MODES:
        return np.asarray(image.convert("RGB"))
    raise ValueError(f"it has pixels of kind {image.mode}: save it with 8 bits a channel")


def _reason(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is no PNG or JPEG image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
