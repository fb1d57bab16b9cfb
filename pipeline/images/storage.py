"""The split images as files: one safetensors file a split, and what the classes are called."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import IntegrityError
from pipeline.files import read_json, write_json
from pipeline.layout import REPORT
from pipeline.runtime.images import Preprocessing
from pipeline.weights import load_tensors, save_tensors

TRAIN, VALIDATION, HELDOUT = "train.safetensors", "validation.safetensors", "heldout.safetensors"
CLASSES = "classes.json"


@dataclass(frozen=True)
class ImageSet:
    """Images of one split: uint8 `[n, channels, height, width]` and their classes, int64 `[n]`."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "ImageSet":
        """The images and classes of some rows, int64 `[k]`."""
        return ImageSet(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class ImageInfo:
    """What every image of a data set has in common.

    `names` are the classes in the order of the labels. `mean` and `std` are one number a channel, of pixels scaled to
    0..1: the model computes `(image / 255 - mean) / std`.
    """

    names: tuple[str, ...]
    input_size: int
    channels: int
    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def preprocessing(self) -> dict[str, Any]:
        """The content of preprocessing.json, by which a device prepares images; mean and std are part of the model."""
        return Preprocessing(self.input_size, self.input_size, self.channels, self.fit, self.names).as_json()


@dataclass(frozen=True)
class ImageData:
    """A data set, split."""

    info: ImageInfo
    train: ImageSet
    validation: ImageSet
    heldout: ImageSet

    def splits(self) -> dict[str, ImageSet]:
        """The splits by the names of their files."""
        return {TRAIN: self.train, VALIDATION: self.validation, HELDOUT: self.heldout}


def save(data: ImageData, folder: Path, origin: Mapping[str, Any]) -> None:
    """Write the splits, classes.json and report.json into an existing folder.

    Args:
        data: what to write.
        folder: where to.
        origin: where the images are from, for the report.
    """
    for name, images in data.splits().items():
        save_tensors({"images": images.images, "labels": images.labels}, folder / name)
    write_json(folder / CLASSES, asdict(data.info))
    write_json(folder / REPORT, {**origin, **_counts(data)})


def load_split(path: Path) -> ImageSet:
    """The images of one split.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    tensors = load_tensors(path)
    images, labels = tensors.get("images"), tensors.get("labels")
    if images is None or labels is None or images.ndim != 4 or images.dtype != np.uint8 or labels.dtype != np.int64:
        raise IntegrityError(f"{path} holds no images and labels: `dvc checkout` brings it back")
    return ImageSet(images, labels)


def load_info(folder: Path) -> ImageInfo:
    """What classes.json of a data folder says.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    content = read_json(folder / CLASSES)
    try:
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
        }
        return ImageInfo(**values)
    except (AttributeError, TypeError) as error:
        raise IntegrityError(f"{folder / CLASSES} is damaged ({error}): `dvc checkout` brings it back") from error


def _counts(data: ImageData) -> dict[str, Any]:
    seen = {image.tobytes() for image in data.train.images}
    counts: dict[str, Any] = {f"{Path(name).stem}_images": len(images) for name, images in data.splits().items()}
    counts["heldout_images_also_in_train"] = sum(image.tobytes() in seen for image in data.heldout.images)
    counts["classes"] = {
        name: {Path(split).stem: Counter(images.labels.tolist())[label] for split, images in data.splits().items()}
        for label, name in enumerate(data.info.names)
    }
    return counts


def examples(images: NDArray[np.uint8]) -> list[dict[str, NDArray[np.float32]]]:
    """Each image as the input of one call, float32 `[1, channels, height, width]`, values 0..255."""
    return [{"image": image[None].astype(np.float32)} for image in images]
