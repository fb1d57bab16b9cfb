"""The plan of a build: its stages, and why each has to run, as DVC sees its graph."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import InputError
from pipeline.orchestration.plan.needs import Needs, read_needs


@dataclass(frozen=True)
class PlannedStage:
    """A stage before the build begins.

    Attributes:
        name: as DVC addresses it.
        upstream: stages whose outputs it reads.
        reasons: why it has to run, whatever becomes of its upstream. Without a reason it is up to date so far.
        outs_clean: its outputs are what dvc.lock says.
        model: the model of the fleet that it belongs to.
        lock: the lock file that records it, or None for a `.dvc` file.
        of_its_machine: every build makes it anew and no cache keeps it, so it describes the machine that made it.
    """

    name: str
    upstream: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    outs_clean: bool = True
    needs: Needs = field(default_factory=Needs)
    model: str | None = None
    lock: str | None = None
    of_its_machine: bool = False


@dataclass(frozen=True)
class Plan:
    """The stages of a build in the order in which `dvc repro` would take them.

    Attributes:
        left_out: stages that `--models` excludes, with the reason where it is not their own model.
        lock_order: for each lock file, its entries in the order that `dvc repro` would leave.
        uncommitted: changed files that a worker of a pool would not see. Found only where a stage has a pool.
    """

    stages: tuple[PlannedStage, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    lock_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    uncommitted: tuple[str, ...] = ()

    def cached(self) -> list[str]:
        """Stages that are up to date and stay so, whatever the other stages do."""
        return [stage.name for stage in self.stages if stage.name not in self._touched()]

    def summary(self) -> str:
        """How many stages there are, and how many of them are up to date."""
        stages = "1 stage" if len(self.stages) == 1 else f"{len(self.stages)} stages"
        return f"{stages}, {len(self.cached())} up to date"

    def _touched(self) -> set[str]:
        touched: set[str] = set()
        for stage in self.stages:
            if stage.reasons or touched.intersection(stage.upstream):
                touched.add(stage.name)
        return touched


def read_plan(answer: Mapping[str, Any]) -> Plan:
    """Make a plan of what `pipeline.orchestration.run.dvc_job.plan` answered, and check each stage's `meta:`.

    Raises:
        InputError: `meta:` of some stages is wrong; all of them are named.
    """
    stages, problems = [], []
    for entry in answer["stages"]:
        try:
            needs = read_needs(entry["name"], entry["meta"])
        except InputError as error:
            problems.append(str(error))
            continue
        stages.append(
            PlannedStage(
                name=entry["name"],
                upstream=tuple(entry["upstream"]),
                reasons=tuple(entry["reasons"]),
                outs_clean=entry["outs_clean"],
                needs=needs,
                model=entry["model"],
                lock=entry["lock"],
                of_its_machine=entry["of_its_machine"],
            )
        )
    if problems := problems + split_between_machines(stages):
        raise InputError("\n".join(problems))
    order = lock_order(stages, answer["locks"])
    return Plan(tuple(stages), lock_order=order, uncommitted=tuple(answer["uncommitted"]))


def split_between_machines(stages: Sequence[PlannedStage]) -> list[str]:
    """One problem for each stage that reads the description of a machine on which it does not run."""
    makers = {stage.name: stage for stage in stages if stage.of_its_machine}
    problems = []
    for stage in stages:
        for maker in (makers[name] for name in stage.upstream if name in makers):
            if maker.needs.pool != stage.needs.pool:
                problems.append(
                    f"dvc.yaml: {_pool(maker)}, but {_pool(stage)}: {stage.name} reads the description of a machine "
                    f"that {maker.name} makes (always_changed, cache: false), so both "
                    "must run there; give both the same pool"
                )
    return problems


def _pool(stage: PlannedStage) -> str:
    return f"stages.{stage.name.partition('@')[0]}.meta.pool is {stage.needs.pool or 'not set'}"


def lock_order(stages: Sequence[PlannedStage], locks: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The order that `dvc repro` leaves: what is recorded keeps its place, what is new is appended as it is built.

    Args:
        stages: in serial order.
        locks: lock files with the entries that they have now.
    """
    order = {path: list(entries) for path, entries in locks.items()}
    for stage in stages:
        if stage.lock is not None:
            entries = order.setdefault(stage.lock, [])
            name = stage.name.rpartition(":")[2]
            if name not in entries:
                entries.append(name)
    return {path: tuple(entries) for path, entries in order.items()}


def only_models(plan: Plan, models: Collection[str]) -> Plan:
    """Leave out stages of other models, and stages that need one of those before it is up to date.

    Raises:
        InputError: a model that no stage belongs to.
    """
    known = sorted({stage.model for stage in plan.stages if stage.model is not None})
    if unknown := [model for model in models if model not in known]:
        raise InputError(f"--models: no stage builds {', '.join(unknown)}; the fleet has {', '.join(known) or 'none'}")
    up_to_date = set(plan.cached())
    kept: list[PlannedStage] = []
    left_out: dict[str, str] = {}
    for stage in plan.stages:
        missing = [name for name in stage.upstream if name in left_out and name not in up_to_date]
        if stage.model is not None and stage.model not in models:
            left_out[stage.name] = f"of model {stage.model}"
        elif missing:
            left_out[stage.name] = f"needs {', '.join(missing)}"
        else:
            kept.append(stage)
    return replace(plan, stages=tuple(kept), left_out=left_out)
