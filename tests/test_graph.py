"""dvc.yaml against the code: a stage depends on everything that it imports and that may decide what it writes."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from pipeline.layout import Engine
from pipeline.params import tasks
from pipeline.tasks.image_classification.params import architectures

ROOT = Path(__file__).parents[1]
# They carry values, errors, messages and names of files, and decide nothing that a stage writes; what stands in
# params.yaml is a dependency by its keys. A task's params.py is its part of the schema.
GROUND = {
    "pipeline",
    "pipeline.errors",
    "pipeline.files",
    "pipeline.layout",
    "pipeline.machine_lock",
    "pipeline.processes",
    "pipeline.progress",
    "pipeline.runtime.engines",
    "pipeline.stage",
    "pipeline.tasks",
    "pipeline.tasks.base",
    "stages",
}
GROUND_ROOMS = ("pipeline.params", "pipeline.records")
# It says what is certain already and writes nothing: the gate says it again and judges.
SAYS_ONLY = {"stages.misses"}
# `open_session("onnxruntime", …)` imports one engine's module while it runs, `open_session(engine, …)` any of them.
OPENS = re.compile(r'(?<!def )\bopen_session\((?:"(\w+)")?')


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None)


@cache
def stages() -> dict[str, Any]:
    content = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    return {name: entry.get("do", entry) for name, entry in content["stages"].items()}


def verbs(module: str) -> set[str]:
    """The modules of a task that the code asks for: `tasks.training(…)` is `training`."""
    tree = ast.parse((ROOT / path_of(module)).read_text(encoding="utf-8"))
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asked = [f.attr for f in called if isinstance(f, ast.Attribute) and ast.unparse(f.value) == "tasks"]
    return set(asked) - {"names", "params_of"}


def is_ground(module: str) -> bool:
    parameters = re.fullmatch(r"pipeline\.tasks\.\w+(\.params)?", module)
    return module in GROUND or module.startswith(GROUND_ROOMS) or parameters is not None


def reached(stage: str, task: str) -> set[str]:
    """Every module that may decide what `stage` writes for a model of `task`."""
    module, engine = command(stage)
    pending, seen = [module], set[str]()
    while pending:
        name = pending.pop()
        if name in seen or name in SAYS_ONLY:
            continue
        seen.add(name)
        if is_ground(name):
            continue
        pending += imports().find_modules_directly_imported_by(name)
        pending += [f"pipeline.tasks.{task}.{verb}" for verb in verbs(name)]
        pending += by_name(name, engine)
    return {name for name in seen if not is_ground(name)}


def by_name(module: str, engine: str) -> Iterator[str]:
    """The modules that the code of `module` imports by their names."""
    source = (ROOT / path_of(module)).read_text(encoding="utf-8")
    for named in OPENS.findall(source):
        # The stage's own engine where it has one.
        engines = [named] if named else [engine] if engine in list(Engine) else list(Engine)
        yield from (f"pipeline.runtime.{name}" for name in engines)
    if module == "pipeline.engines.exporter":
        yield f"pipeline.engines.{engine}.export"
    if module == "pipeline.students":
        yield from (f"pipeline.students.{name}" for name in architectures())


def command(stage: str) -> tuple[str, str]:
    """The module that a stage runs, and the last word of its command, which is an engine where one is named."""
    words = stages()[stage]["cmd"].split()
    return words[2], words[-1]


def path_of(module: str) -> Path:
    folder = Path(*module.split("."))
    return folder / "__init__.py" if (ROOT / folder).is_dir() else folder.with_suffix(".py")


def missing(stage: str, task: str) -> Iterator[str]:
    deps = [Path(dep.replace("${item}", task)) for dep in stages()[stage]["deps"]]
    for module in sorted(reached(stage, task)):
        path = path_of(module)
        if not any(path == dep or dep in path.parents for dep in deps):
            yield str(path)


@pytest.mark.parametrize("task", tasks.names())
def test_a_stage_depends_on_every_module_that_it_reaches(task: str) -> None:
    lacking = {stage: found for stage in stages() if (found := list(missing(stage, task)))}
    assert lacking == {}


def test_a_room_that_a_stage_enters_without_naming_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    deps = [dep for dep in stages()["gate"]["deps"] if dep != "pipeline/gate"]
    monkeypatch.setitem(stages(), "gate", {**stages()["gate"], "deps": deps})
    assert "pipeline/gate/verdict.py" in list(missing("gate", tasks.names()[0]))


def test_every_module_that_a_stage_depends_on_exists() -> None:
    deps = {dep for entry in stages().values() for dep in entry["deps"]}
    named = {dep.replace("${item}", task) for dep in deps for task in tasks.names()}
    modules = [dep for dep in sorted(named) if dep.startswith(("pipeline/", "stages/"))]
    assert [dep for dep in modules if not (ROOT / dep).exists()] == []


def test_every_parameter_that_a_stage_depends_on_exists_for_every_model_of_the_catalogue() -> None:
    params = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    keys = {(stage, key) for stage, entry in stages().items() for key in entry.get("params", [])}
    named = {(stage, key.replace("${key}", model)) for stage, key in keys for model in params["models"]}
    assert [f"{stage}: {key}" for stage, key in sorted(named) if not has(params, key)] == []


def has(params: Any, dotted: str) -> bool:
    """Whether a key is there; DVC refuses a stage whose parameter is missing."""
    for part in dotted.split("."):
        if not isinstance(params, dict) or part not in params:
            return False
        params = params[part]
    return True


def test_the_hall_of_the_library_has_few_modules() -> None:
    modules = sorted(path.stem for path in (ROOT / "pipeline").glob("[!_]*.py"))
    assert len(modules) <= 10, f"{modules}: find a room for what is new"
