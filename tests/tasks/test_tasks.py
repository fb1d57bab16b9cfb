"""Tasks differ below pipeline/tasks/ and nowhere else, and dvc.yaml asks for nothing that one of them lacks."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params import tasks

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


def stages() -> dict[str, Any]:
    """Each stage of dvc.yaml as it is written; of a `foreach` what stands under `do`."""
    content: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    return {name: entry.get("do", entry) for name, entry in content["stages"].items()}


def test_every_parameter_that_a_stage_depends_on_exists_for_every_model() -> None:
    """DVC ends where a parameter is missing, so a model that leaves a step out must write `none`."""
    params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    missing = []
    for model in params["models"]:
        for stage, entry in stages().items():
            for key in entry.get("params", []):
                value: Any = params
                for part in (
                    re.sub(r"\$\{(key|item\.model)\}", model, key).replace("${item.engine}", "tflite").split(".")
                ):
                    value = value.get(part) if isinstance(value, dict) else None
                if value is None:
                    missing.append(f"{stage}: {key} of {model}")
    assert missing == []


def test_every_module_that_a_stage_depends_on_exists() -> None:
    deps = {dep for entry in stages().values() for dep in entry.get("deps", [])}
    modules = [dep for dep in sorted(deps) if dep.startswith(("pipeline/", "stages/"))]
    of_tasks = {dep.replace("${item}", name) for dep in modules for name in tasks.names()}
    assert [dep for dep in sorted(of_tasks) if not (ROOT / dep).exists()] == []
