"""What differs by task. Each folder here is one task, and no other module knows which tasks there are.

    tasks.training("image_classification").prune(work)

is the function `prune` of pipeline/tasks/image_classification/training.py. A stage imports the module that it
needs and no other, so that an edit of one verb reruns the stages of that verb alone.
"""

from importlib import import_module
from typing import Any

from pipeline.params import tasks
from pipeline.tasks.base import Data, Judging, Serving, Teacher, Training


def data(task: str) -> Data:
    """The module that makes the data."""
    found: Data = _module(task, "data")
    return found


def teacher(task: str) -> Teacher:
    """The module that finds or trains a teacher, and runs it."""
    found: Teacher = _module(task, "teacher")
    return found


def training(task: str) -> Training:
    """The module with the steps of compression."""
    found: Training = _module(task, "training")
    return found


def serving(task: str) -> Serving:
    """The module that says how a model is called."""
    found: Serving = _module(task, "serving")
    return found


def judging(task: str) -> Judging:
    """The module that judges quality."""
    found: Judging = _module(task, "judging")
    return found


def _module(task: str, name: str) -> Any:
    """Import one module of a task; KeyError where there is no such task."""
    if task not in tasks.names():
        raise KeyError(task)
    return import_module(f"pipeline.tasks.{task}.{name}")
