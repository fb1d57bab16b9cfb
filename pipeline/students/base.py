"""What a student's module brings, so that a new architecture is one file: see `pipeline.students.build`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from torch import nn


class Config(Protocol):
    """Everything that is needed to build a model, pruned or not; a frozen dataclass."""

    @property
    def architecture(self) -> str:
        """Name of the module in `pipeline.students`."""

    def as_json(self) -> dict[str, object]:
        """The content of `config.json`."""


class Student(NamedTuple):
    """An architecture, as `STUDENT` in its module.

    Attributes:
        from_json: reads what `as_json` wrote; TypeError, KeyError or ValueError where it is no such configuration.
        model: the module of a configuration, with random weights and `.config`.
    """

    from_json: Callable[[Mapping[str, Any]], Any]
    model: Callable[[Any], nn.Module]
