"""What differs by task: each folder here is one, and nothing elsewhere knows which there are.

`task("image_classification")` is the object `TASK` of pipeline/tasks/image_classification/task.py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.params import tasks

if TYPE_CHECKING:
    from pipeline.tasks.base import Task


def task(name: str) -> "Task[Any]":
    """The task that params.yaml calls `name`; brings its own heavy imports.

    Raises:
        KeyError: there is no such task.
    """
    if name not in tasks.names():
        raise KeyError(name)
    found: Task[Any] = import_module(f"pipeline.tasks.{name}.task").TASK
    return found
