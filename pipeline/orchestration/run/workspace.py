"""A workspace while one build holds it: its lock, its server, its plan and its stages."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline import files
from pipeline.errors import BardletError, ExitCode, InputError, StageError
from pipeline.orchestration.plan.priority import Durations, ranks
from pipeline.orchestration.plan.schedule import GOOD, StageOutcome, StageResult
from pipeline.orchestration.plan.stages import Plan, PlannedStage, only_models, read_plan
from pipeline.orchestration.run.client import BuildServer, JobResult, Tell
from pipeline.orchestration.sharing.cache import SharedCache

LOCK = Path(".dvc/tmp/bardlet/build.lock")
DURATIONS = LOCK.with_name("seconds.json")


class Workspace:
    """The workspace at `root`, held by one build. A second build waits until the first has ended."""

    def __init__(self, root: Path, tell: Tell) -> None:
        """Take the workspace and start the server, which imports DVC while the caller goes on.

        Args:
            root: folder of dvc.yaml.
            tell: gets a line when this has to wait.

        Raises:
            InputError: there is nothing to build.
        """
        for needed, advice in (("dvc.yaml", "run this in its folder"), (".dvc", "`dvc init` makes it")):
            if not (root / needed).exists():
                raise InputError(f"{root / needed} is missing: {advice}")
        self.cancelled = False
        self._lock = files.hold(root / LOCK, lambda who: tell(f"waiting: this workspace is being built by {who}"))
        self._durations = Durations(root / DURATIONS)
        self._server = BuildServer(root, (self._lock.fileno(),))
        self._shared = SharedCache(self._server, tell)

    def share(self, plan: Plan) -> None:
        """Have this build look into the shared cache before a stage runs, unless the whole plan is up to date."""
        if len(plan.cached()) < len(plan.stages):
            self._shared.look()

    def plan(self, targets: Sequence[str], models: Sequence[str], force: bool) -> Plan:
        """Ask DVC what `targets` need.

        Raises:
            InputError: an unknown target or model, or a dvc.yaml that DVC refuses.
        """
        done = self._server.run({"do": "plan", "targets": list(targets), "force": force}, lambda _: None)
        if done.error:
            raise _refusal(done.error)
        if done.answer is None:
            raise StageError(f"DVC could not read the graph: {_end(done)}")
        plan = read_plan(done.answer)
        return only_models(plan, models) if models else plan

    def run(
        self, stage: PlannedStage, plan: Plan, force: bool, log: Tell, why: Callable[[list[str]], None]
    ) -> StageResult:
        """Have a stage reproduced and wait for it.

        Args:
            log: gets every line that the stage prints.
            why: gets the reasons, before the stage starts.
        """
        reasons: list[str] = []

        def listen(message: Mapping[str, Any]) -> None:
            if "log" in message:
                log(message["log"])
            elif "why" in message and not reasons:
                reasons.extend(message["why"])
                why(message["why"])
            elif "shared" in message:
                self._shared.give_up(message["shared"])

        job = {
            "do": "stage",
            "stage": stage.name,
            "force": force,
            "pull": not force and self._shared.ready(),
            "lock_order": {path: list(order) for path, order in plan.lock_order.items()},
            **_where(stage),
        }
        begin = time.monotonic()
        try:
            done = self._server.run(job, listen)
        except StageError as error:
            return StageResult(stage.name, StageOutcome.FAILED, tuple(reasons), str(error), ExitCode.BROKEN)
        return stage_result(stage, done, tuple(reasons), time.monotonic() - begin)

    def ranks(self, plan: Plan) -> dict[str, float]:
        """Rank stages by what they took in earlier builds of this workspace; the highest starts first."""
        return ranks(plan, self._durations.read())

    def remember(self, results: Sequence[StageResult]) -> None:
        """Keep how long stages took."""
        self._durations.note(results)

    def ask(self, job: Mapping[str, Any], log: Tell) -> dict[str, Any]:
        """Have another job of `pipeline.orchestration.run.dvc_job` done, and return its answer.

        Raises:
            InputError: DVC refuses it.
            StageError: it was ended, or broke.
        """
        done = self._server.run(job, lambda message: log(message["log"]) if "log" in message else None)
        if done.error:
            raise _refusal(done.error)
        if done.answer is None:
            raise StageError(f"{job['do']} of {job['stage']}: {done.stopped or _end(done)}")
        return done.answer

    def finish(self) -> None:
        """Note that everything that was planned is built."""
        self._server.run({"do": "finish"}, lambda _: None)

    def push(self, results: Sequence[StageResult]) -> str:
        """Send what stages left, and their entries of the run-cache, to the shared cache; returns what was sent.

        Raises:
            StageError: not all of it arrived.
        """
        return self._shared.push([result.name for result in results if result.outcome in GOOD])

    def cancel(self) -> None:
        """End all stages; none starts any more."""
        self.cancelled = True
        self._server.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)
        self._lock.close()


def _where(stage: PlannedStage) -> dict[str, Any]:
    """Where a stage runs. The time limit holds there, so waiting for a worker does not count."""
    limit, pool = stage.needs.time_limit_s, stage.needs.pool
    if pool is None:
        return {"time_limit_s": limit}
    api = os.environ.get("PREFECT_API_URL")
    return {"time_limit_s": None, "pool": {"name": pool, "api": api, "time_limit_s": limit}}


def stage_result(stage: PlannedStage, done: JobResult, reasons: tuple[str, ...], seconds: float) -> StageResult:
    """Say what the end of a job means for its stage."""
    failed = StageResult(stage.name, StageOutcome.FAILED, reasons, exit_code=ExitCode.BROKEN, seconds=seconds)
    answer = done.answer
    # DVC reports an ended stage as failed; one that was complete by then is built.
    if done.stopped is not None and (answer is None or answer["outcome"] == StageOutcome.FAILED):
        if done.stopped == "cancelled":
            return replace(failed, outcome=StageOutcome.CANCELLED, message="ended", exit_code=0)
        limit = f"{stage.needs.time_limit_s:g} s (dvc.yaml, meta.time_limit_s of {stage.name})"
        return replace(failed, message=f"ended after its time limit of {limit}")
    if answer is not None:
        return replace(
            failed,
            outcome=StageOutcome(answer["outcome"]),
            message=answer.get("message", ""),
            exit_code=answer.get("exit_code", 0),
            outs_same=answer.get("outs_same", False),
        )
    if done.error is not None:
        return replace(failed, message=done.error["error"], exit_code=done.error["exit_code"])
    return replace(failed, message=_end(done))


def _refusal(error: Mapping[str, Any]) -> BardletError:
    """The error of a job as an exception: wrong input, or something that nobody foresaw."""
    return (StageError if error["exit_code"] == ExitCode.BROKEN else InputError)(error["error"])


def _end(done: JobResult) -> str:
    if done.exit_code is None:
        return "its supervisor was killed"
    how = f"was killed by signal {-done.exit_code}" if done.exit_code < 0 else f"ended with {done.exit_code}"
    return f"its process {how}; what it printed says more"
