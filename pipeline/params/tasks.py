"""Which tasks there are: every folder of pipeline/tasks/ with a params.py is one, and `task:` names it.

Tasks are looked up by name and never imported here, so that their params.py may import the blocks of this package.
"""

from importlib import import_module
from pathlib import Path

from pipeline.params.blocks import ModelParams

_TASKS = Path(__file__).parents[1] / "tasks"


def names() -> tuple[str, ...]:
    """The tasks that there are, as params.yaml calls them."""
    return tuple(sorted(path.parent.name for path in _TASKS.glob("*/params.py")))


def params_of(name: str) -> type[ModelParams]:
    """The schema of a model with this task.

    Raises:
        KeyError: there is no such task.
    """
    if name not in names():
        raise KeyError(name)
    schema: type[ModelParams] = import_module(f"pipeline.tasks.{name}.params").ModelParams
    return schema
