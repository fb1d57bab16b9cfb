"""A user's own images: `data/raw/<name>/<split>/<class>/*.png` and `*.jpg`.

Splits are `train`, `validation` (or `val`) and `heldout` (or `test`); an evaluation split that is not there is cut from
`train`. Everything that is wrong is named at once, before anything is trained.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError, listed
from pipeline.images.split import split as split_rows
from pipeline.images.storage import ImageData, ImageInfo, ImageSet
from pipeline.progress import track
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.images import Preprocessing
from pipeline.runtime.pictures import Pixels, open_image

SPLITS = {"train": ("train",), "validation": ("validation", "val"), "heldout": ("heldout", "test")}
SUFFIXES = (".png", ".jpg", ".jpeg")
_SHOWN = 20
_COLOURS = {1: "grayscale", 3: "RGB"}


@dataclass(frozen=True)
class ImageFile:
    """One file and where it stands in the folder."""

    path: Path
    split: str
    name: str


def list_files(folder: Path) -> tuple[list[ImageFile], list[str]]:
    """Every image file, in the order of the paths, and everything about the folders that is wrong.

    Raises:
        InputError: `folder` has no split at all.
    """
    known = {alias: name for name, aliases in SPLITS.items() for alias in aliases}
    found = {path.name: path for path in _entries(folder)} if folder.is_dir() else {}
    if not found.keys() & known.keys():
        needed = f"{folder}/train/<class>/*.png or *.jpg"
        raise InputError(f"{folder} holds no images: {needed} is needed, and optionally validation/ and heldout/")
    files: list[ImageFile] = []
    problems = [f"{folder / 'train'} is missing: there is nothing to train on"] if "train" not in found else []
    for aliases in SPLITS.values():
        if len(twice := [str(found[alias]) for alias in aliases if alias in found]) > 1:
            problems.append(f"{' and '.join(twice)} are the same split: keep one")
    for name, path in found.items():
        if name not in known or not path.is_dir():
            problems.append(f"{path} is no split: {', '.join(known)} are known")
            continue
        files += _list_split(path, known[name], problems)
    return files, problems


def class_problems(files: list[ImageFile], folder: Path) -> list[str]:
    """Why classes cannot be learned or judged: there is only one, a split lacks one, or one has too few images."""
    splits = sorted({file.split for file in files}, key=list(SPLITS).index)
    names = sorted({file.name for file in files})
    if not files:
        return []
    if len(names) == 1:
        return [f"{folder} has one class only, {names[0]!r}: two are needed to tell apart"]
    counts = {(split, name): 0 for split in splits for name in names}
    for file in files:
        counts[file.split, file.name] += 1
    problems = [f"class {name!r} has no image in {split}" for (split, name), count in counts.items() if not count]
    parts = 1 + len(SPLITS) - len(splits)
    for name in names:
        if 0 < (count := counts.get(("train", name), 0)) < parts:
            problems.append(f"class {name!r} has {count} images in train, which is to be cut in {parts}")
    return problems


def make_folder(
    folder: Path, info: Mapping[str, object], validation_share: float, heldout_share: float, seed: int
) -> tuple[ImageData, dict[str, str]]:
    """Read, check and prepare every image.

    Args:
        folder: holds `train` and optionally the other splits.
        info: the fields of `ImageInfo` except `names`, which are the names of the class folders, sorted.
        validation_share: fraction of each class of `train` that becomes the validation split where there is none.
        heldout_share: the same for the held-out split.
        seed: which images are cut from `train`.

    Returns:
        The images, and for each split where it comes from.

    Raises:
        InputError: naming every problem of folders, classes and files.
    """
    files, problems = list_files(folder)
    names = tuple(sorted({file.name for file in files}))
    about = ImageInfo(names=names, **info)  # type: ignore[arg-type]
    problems += class_problems(files, folder)
    images = _read(files, about, problems)
    if problems:
        shown = listed(problems, _SHOWN)
        raise InputError("\n  ".join([f"{len(problems)} problems with the images in {folder}:", *shown]))
    labels = np.array([names.index(file.name) for file in files], np.int64)
    rows = {split: np.array([i for i, f in enumerate(files) if f.split == split], np.int64) for split in SPLITS}
    origin = {split: "its folder" if len(rows[split]) else "cut from train" for split in SPLITS}
    shares = {"validation": validation_share, "heldout": heldout_share}
    missing = {split: share for split, share in shares.items() if not len(rows[split])}
    train = rows["train"]
    *cut, rest = split_rows(labels[train], tuple(missing.values()), seed)
    rows |= {split: train[part] for split, part in zip(missing, cut, strict=True)} | {"train": train[rest]}
    everything = ImageSet(images, labels)
    return ImageData(about, *(everything.take(rows[split]) for split in SPLITS)), origin


def _entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder, by name, without hidden files such as .DS_Store."""
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _list_split(folder: Path, split: str, problems: list[str]) -> Iterator[ImageFile]:
    entries = list(_entries(folder))
    if not entries:
        problems.append(f"{folder} is empty: a folder for each class is needed")
    for entry in entries:
        if not entry.is_dir():
            problems.append(f"{entry} lies outside of a class: move it into {folder}/<class>/")
            continue
        paths = list(_entries(entry))
        if not paths:
            problems.append(f"{entry} is empty: remove it, or put images there")
        for path in paths:
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield ImageFile(path, split, entry.name)
            else:
                problems.append(f"{path} is no {', '.join(SUFFIXES)} file")


def _read(files: list[ImageFile], info: ImageInfo, problems: list[str]) -> Pixels:
    """Every image prepared, uint8 `[n, channels, size, size]`; unusable files are named in `problems`."""
    how = Preprocessing(info.input_size, info.input_size, info.channels, info.fit, info.names)

    def read(file: ImageFile) -> Pixels | str:
        try:
            pixels = open_image(file.path)
        except RuntimeInputError as error:
            return str(error)
        channels = 3 if pixels.ndim == 3 else 1
        if channels != info.channels:
            is_, wanted = _COLOURS[channels], f"{_COLOURS[info.channels]} (channels: {info.channels})"
            return f"{file.path}: it is {is_}, and params.yaml wants {wanted}: convert it, or change data.channels"
        return how.prepare(pixels)

    prepared = np.empty((len(files), info.channels, info.input_size, info.input_size), np.uint8)
    # Pillow decodes without holding the interpreter's lock.
    with ThreadPoolExecutor() as pool:
        results = track(pool.map(read, files), total=len(files), label="data", unit="images")
        for index, result in enumerate(results):
            if isinstance(result, str):
                problems.append(result)
            else:
                prepared[index] = result
    return prepared
