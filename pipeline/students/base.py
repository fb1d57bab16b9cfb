"""What a student's module brings, so that a new architecture is one file: see `pipeline.students.build`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self

from torch import nn


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
