"""The work of a verb, as the stages make it, in a temporary workspace."""

import time
from pathlib import Path
from typing import Any

from pipeline.layout import ModelLayout
from pipeline.tasks.base import Work


def work_in(root: Path, params: Any, out: Path, seed: int = 7, model: str = "m") -> Work[Any]:
    """Work on `model` in the workspace `root` that writes to the existing folder `out`."""
    paths = ModelLayout(root, model)
    return Work(params, seed, paths, out, lambda key: f"params.yaml:1: models.{model}.{key}", time.monotonic())
