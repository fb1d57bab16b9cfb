"""Stages in the order of `dvc repro`, and what dvc.yaml and dvc.lock say about one of them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.dvcfile import PROJECT_FILE, load_file
from dvc.exceptions import DvcException
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage import PipelineStage
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils import parse_target

from pipeline.errors import InputError


def serial_order(repo: Any, targets: Sequence[str]) -> list[tuple[Any, list[Any]]]:
    """The stages that `targets` need, each with the stages that it reads from, in the order of `dvc repro`.

    Args:
        repo: locked.
        targets: as DVC names them; none: all of dvc.yaml.

    Raises:
        InputError: dvc.yaml has no such stage.
        DvcError: DVC refuses dvc.yaml.
    """
    _check_targets(repo, targets)
    graph = get_active_graph(repo.index.graph)
    stages = plan_repro(graph, collect_stages(repo, targets or [PROJECT_FILE]))
    _read_files_once(stages)
    return [(stage, list(graph.successors(stage))) for stage in stages]


def _check_targets(repo: Any, targets: Sequence[str]) -> None:
    for target in targets:
        try:
            repo.stage.collect(target)
        except DvcException as error:
            known = [stage.addressing for stage in repo.index.stages]
            groups = [name.partition("@")[0] for name in known]
            close = get_close_matches(target, [*known, *groups], 1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; stages are {', '.join(dict.fromkeys(groups))}"
            raise InputError(f"no stage '{target}' in dvc.yaml{hint}") from (error if not close else None)


def _read_files_once(stages: Sequence[Any]) -> None:
    """Let all stages of a dvc.yaml share what was read; DVC parses dvc.yaml and dvc.lock anew for each of them."""
    files: dict[str, Any] = {}
    for stage in stages:
        stage.dvcfile = files.setdefault(stage.path, stage.dvcfile)


def load_stage(repo: Any, name: str) -> Any:
    """A stage by its address, with what was read of its files: DVC would parse dvc.lock a second time for it."""
    path, key = parse_target(name)
    file = load_file(repo, repo.fs.abspath(path or PROJECT_FILE))
    stage = file.stages[key]
    stage.dvcfile = file
    return stage


def find_stage(repo: Any, name: str) -> Any:
    """A stage by its address, as the whole graph of the repository has it."""
    return next(iter(repo.stage.collect(name)))


def upstream_of(repo: Any, stage: Any) -> list[Any]:
    """The stages that a stage reads from."""
    return list(repo.index.graph.successors(stage))


def lock_path(stage: Any) -> str | None:
    """The dvc.lock that records a stage, or None for one of a `.dvc` file."""
    return str(Path(stage.path).with_suffix(".lock")) if isinstance(stage, PipelineStage) else None


def recorded_entry(stage: Any) -> Mapping[str, Any] | None:
    """What dvc.lock says about a stage; None where it says nothing."""
    if not isinstance(stage, PipelineStage):
        return None
    entry: Mapping[str, Any] | None = (stage.dvcfile.lockfile_contents or {}).get("stages", {}).get(stage.name)
    return entry


def current_entry(stage: Any) -> dict[str, Any]:
    """What dvc.lock would say about a stage as it is now."""
    entry: dict[str, Any] = to_single_stage_lockfile(stage)
    return entry


def take_entry(stage: Any, entry: Mapping[str, Any]) -> None:
    """Give a stage the hashes that an entry of dvc.lock has for its dependencies and outputs."""
    StageLoader.fill_from_lock(stage, entry)


def is_parameters(dep: Any) -> bool:
    """Whether a dependency is a file's parameters, not a whole file or folder."""
    return isinstance(dep, ParamsDependency)


def model_of(stage: Any) -> str | None:
    """The model of the fleet that a generated stage belongs to; None for a stage that belongs to all.

    A stage of a `matrix` belongs to its item's `model`, whether the axis is a list or a mapping. A stage of a `foreach`
    over a mapping belongs to its key. A `foreach` over a list names no model.
    """
    group = stage.raw_data.generated_from
    if group is None:
        return None
    definition = stage.dvcfile.resolver.definitions[group]
    key = stage.name.partition("@")[2]
    if hasattr(definition, "matrix_data"):
        item = definition.normalized_iterable[key]
        return str(item["model"]) if "model" in item else None
    return key if isinstance(definition.resolved_iterable, Mapping) else None
