"""Student architectures, one module each: `pipeline.students.<architecture>` with an object `STUDENT`.

The file names here are the architectures; what several of them are built of lies in `layers/`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self

from torch import nn

from pipeline.errors import InputError


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
