"""Decides which stage may start now, from the state of a build. Nothing here knows processes or Prefect."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pipeline.orchestration.plan.needs import Machine, fits
from pipeline.orchestration.plan.stages import Plan, PlannedStage


class StageOutcome(StrEnum):
    """How a stage ended."""

    BUILT = "built"
    RESTORED = "restored"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


GOOD = (StageOutcome.BUILT, StageOutcome.RESTORED, StageOutcome.CACHED)


@dataclass(frozen=True)
class StageResult:
    """How one stage ended.

    Attributes:
        exit_code: of the stage's own process where it failed, one of `pipeline.errors.ExitCode`.
        outs_same: its outputs are byte for byte what dvc.lock had recorded before.
    """

    name: str
    outcome: StageOutcome
    reasons: tuple[str, ...] = ()
    message: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    outs_same: bool = False


@dataclass
class Schedule:
    """The stages of a plan, as they run and end.

    Attributes:
        ranks: by stage. The stage with the higher rank starts first; equal ranks start in the order of `dvc repro`.
    """

    plan: Plan
    machine: Machine
    ranks: Mapping[str, float] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    running: dict[str, PlannedStage] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Every stage has ended."""
        return len(self.results) == len(self.plan.stages)

    def settle(self) -> list[StageResult]:
        """End the stages that need no process: they are up to date or stand behind a failure. Returns their results."""
        settled = []
        for stage in self.plan.stages:
            if stage.name not in self.results and stage.name not in self.running:
                result = self._without_process(stage)
                if result is not None:
                    self.results[stage.name] = result
                    settled.append(result)
        return settled

    def start(self) -> list[PlannedStage]:
        """Mark the stages that may start now as running, and return them."""
        started = []
        for stage in sorted(self.plan.stages, key=lambda stage: -self.ranks.get(stage.name, 0.0)):
            if stage.name in self.results or stage.name in self.running or not self._upstream_ended(stage):
                continue
            if fits(stage.needs, [other.needs for other in self.running.values()], self.machine):
                self.running[stage.name] = stage
                started.append(stage)
        return started

    def finish(self, result: StageResult) -> None:
        """Note that a stage which was started has ended."""
        stage = self.running.pop(result.name)
        # If an output differed from dvc.lock before, its readers may see a change although the record is the same.
        same = result.outcome is StageOutcome.CACHED or (result.outs_same and stage.outs_clean)
        self.results[result.name] = replace(result, outs_same=same)

    def cancel(self) -> None:
        """Let no further stage start."""
        for stage in self.plan.stages:
            if stage.name not in self.results and stage.name not in self.running:
                self.results[stage.name] = StageResult(stage.name, StageOutcome.CANCELLED, message="not started")

    def _upstream(self, stage: PlannedStage) -> list[str]:
        """Upstream stages that are part of this build; `--models` may have left out others that are up to date."""
        planned = {other.name for other in self.plan.stages}
        return [name for name in stage.upstream if name in planned]

    def _upstream_ended(self, stage: PlannedStage) -> bool:
        return all(name in self.results for name in self._upstream(stage))

    def _without_process(self, stage: PlannedStage) -> StageResult | None:
        upstream = self._upstream(stage)
        ended = [self.results[name] for name in upstream if name in self.results]
        if bad := [result for result in ended if result.outcome not in GOOD]:
            cancelled = all(result.outcome is StageOutcome.CANCELLED for result in bad)
            outcome = StageOutcome.CANCELLED if cancelled else StageOutcome.SKIPPED
            names = ", ".join(result.name for result in bad)
            return StageResult(stage.name, outcome, message=f"{names} {bad[0].outcome}")
        if stage.reasons or len(ended) < len(upstream) or not all(result.outs_same for result in ended):
            return None
        return StageResult(stage.name, StageOutcome.CACHED, outs_same=True)
