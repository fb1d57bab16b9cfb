"""Student architectures, one module each: `pipeline.students.<architecture>` with an object `STUDENT`."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from torch import nn

from pipeline.errors import InputError
from pipeline.students.base import Student


def architectures() -> tuple[str, ...]:
    """Names of all students, sorted."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in names if hasattr(importlib.import_module(f"{__name__}.{name}"), "STUDENT"))


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
