"""Tasks differ below pipeline/tasks/ and nowhere else, and each brings the same modules with the same functions."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipeline.params import tasks
from pipeline.tasks.base import Data, Judging, Serving, Teacher, Training

ROOT = Path(__file__).parents[2]
BRANCH = re.compile(r"\btask\w* *(==|!=|in \(|is )|[\"'](" + "|".join(tasks.names()) + r")[\"']")


def test_no_module_outside_asks_which_task_it_is() -> None:
    paths = [path for folder in ("pipeline", "stages") for path in (ROOT / folder).rglob("*.py")]
    outside = [path for path in paths if "tasks" not in path.parts]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in outside
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if BRANCH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("name", tasks.names())
def test_every_quality_budget_of_a_task_has_its_check_and_its_measure(name: str) -> None:
    schema = tasks.params_of(name)
    quality: Any = schema.model_fields["budgets"].annotation
    budgets = set(quality.model_fields["quality"].annotation.model_fields)
    assert {check.key for check in schema.quality_checks} == budgets
    assert {check.measure for check in schema.quality_checks} <= {measure.key for measure in schema.measures}


@pytest.mark.parametrize("task", tasks.names())
@pytest.mark.parametrize(
    ("module", "protocol"),
    [("data", Data), ("teacher", Teacher), ("training", Training), ("serving", Serving), ("judging", Judging)],
)
def test_every_task_has_the_functions_of_its_verbs(task: str, module: str, protocol: type) -> None:
    found = import_module(f"pipeline.tasks.{task}.{module}")
    for name, declared in inspect.getmembers(protocol, inspect.isfunction):
        if name.startswith("_"):
            continue
        given, wanted = (list(inspect.signature(f).parameters) for f in (getattr(found, name), declared))
        assert given == wanted[1:], f"{task}/{module}.py: {name}"
