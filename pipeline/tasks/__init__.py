"""What differs by task: each folder here is one, and nothing elsewhere knows which there are.

`task("image-classification")` is the object `TASK` of pipeline/tasks/image_classification/task.py, and
`params_of("image-classification")` the class `ModelParams` of its params.py, which imports nothing heavy.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.params import ModelParams
    from pipeline.tasks.base import Task


def names() -> tuple[str, ...]:
    """The tasks that there are, as params.yaml calls them."""
    folders = (path.parent.name for path in Path(__file__).parent.glob("*/params.py"))
    return tuple(sorted(folder.replace("_", "-") for folder in folders))


def params_of(name: str) -> "type[ModelParams]":
    """The schema of a model with this task.

    Raises:
        KeyError: there is no such task.
    """
    schema: type[ModelParams] = _module(name, "params").ModelParams
    return schema


def task(name: str) -> "Task[Any]":
    """The task that params.yaml calls `name`; brings its own heavy imports.

    Raises:
        KeyError: there is no such task.
    """
    found: Task[Any] = _module(name, "task").TASK
    return found


def _module(name: str, part: str) -> Any:
    if name not in names():
        raise KeyError(name)
    return import_module(f"pipeline.tasks.{name.replace('-', '_')}.{part}")
