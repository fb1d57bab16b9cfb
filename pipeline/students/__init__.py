"""Student architectures, one module each: `pipeline.students.<architecture>` with an object `STUDENT`.

The file names here are the architectures; what several of them are built of lies in `layers/`.
"""

import importlib
import pkgutil
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar, overload

import torch
from torch import nn

from pipeline import files
from pipeline.errors import InputError, IntegrityError
from pipeline.layout import CONFIG, WEIGHTS
from pipeline.weights import load_strictly, read_tensors, write_tensors

Model = TypeVar("Model", bound=nn.Module)


class Config(Protocol):
    """Everything that is needed to build a model, pruned or not; a frozen dataclass."""

    @property
    def architecture(self) -> str:
        """Name of the module in `pipeline.students`."""

    def as_json(self) -> dict[str, object]:
        """The content of `config.json`."""

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, read back; TypeError, KeyError or ValueError where it is no such configuration."""


class Student(NamedTuple):
    """An architecture, as `STUDENT` in its module.

    Attributes:
        config: the class of its configurations; those of images also have `create(images, **options)`.
        model: the module of a configuration, with random weights and `.config`.
    """

    config: type[Any]
    model: Callable[[Any], nn.Module]


def architectures() -> tuple[str, ...]:
    """Names of all students, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg))


def find(architecture: str) -> Student:
    """The student of this name.

    Raises:
        InputError: there is none.
    """
    if architecture not in architectures():
        known = ", ".join(architectures())
        raise InputError(f"no student {architecture!r} in pipeline/students: known are {known}")
    student: Student = importlib.import_module(f"{__name__}.{architecture}").STUDENT
    return student


def build(config: Mapping[str, Any]) -> nn.Module:
    """A model with random weights from the content of a `config.json`, in training mode.

    Raises:
        InputError: no student has the name under `architecture`.
        TypeError, KeyError, ValueError: `config` is no configuration of that student.
    """
    student = find(str(config["architecture"]))
    return student.model(student.config.from_json(config))


def create(architecture: str, images: Any, options: Mapping[str, Any]) -> nn.Module:
    """A model for images with random weights.

    Args:
        architecture: a student of images.
        images: `pipeline.students.layers.images.ImageConfig`.
        options: what the architecture's `create` takes.

    Raises:
        InputError: the architecture is unknown or not for images, or does not have such an option or value.
    """
    student = find(architecture)
    if not hasattr(student.config, "create"):
        raise InputError(f"{architecture} is no student of images: choose another architecture")
    try:
        return student.model(student.config.create(images, **options))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{architecture} cannot be made with options {dict(options)}: {error}; "
            f"pipeline/students/{architecture}.py says what its `create` takes"
        ) from error


def save_model(model: nn.Module, folder: Path) -> None:
    """Write a student's config and weights into an existing folder; `model.config` is a `Config`."""
    config: Config = model.config  # type: ignore[assignment]
    files.write_json(folder / CONFIG, config.as_json())
    write_tensors(dict(model.state_dict()), folder / WEIGHTS)


def copy_model(source: Path, folder: Path) -> None:
    """Copy what `save_model` wrote into another existing folder.

    Raises:
        IntegrityError: a file is missing.
    """
    for name in (CONFIG, WEIGHTS):
        if not (source / name).is_file():
            raise IntegrityError(f"{source / name} is missing: run `dvc repro` (or `dvc pull`) first")
        shutil.copyfile(source / name, folder / name)


@overload
def load_model(folder: Path) -> nn.Module: ...


@overload
def load_model(folder: Path, kind: type[Model]) -> Model: ...


def load_model(folder: Path, kind: type[nn.Module] = nn.Module) -> nn.Module:
    """Load a student, pruned or not, in evaluation mode.

    Args:
        folder: with what `save_model` wrote.
        kind: the student that it must be.

    Raises:
        IntegrityError: a file is missing or damaged, it is another student, or the weights do not fit the config;
            tensors are named.
    """
    config = files.read_json(folder / CONFIG)
    # Initial weights that are replaced at once must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        try:
            model = build(config)
        except (TypeError, KeyError, ValueError, InputError) as error:
            raise IntegrityError(
                f"{folder / CONFIG} is no configuration of a student ({error}): run `dvc repro`"
            ) from error
    if not isinstance(model, kind):
        raise IntegrityError(f"{folder} holds a {type(model).__name__}, not a {kind.__name__}: run `dvc repro`")
    load_strictly(model, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    return model.eval()
