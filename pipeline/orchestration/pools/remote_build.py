"""Builds one stage on a worker, in the worker's own clone, with the machinery of any build."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ExitCode, InputError, StageError
from pipeline.orchestration.plan.needs import Needs
from pipeline.orchestration.plan.schedule import GOOD, StageOutcome
from pipeline.orchestration.plan.stages import Plan, PlannedStage
from pipeline.orchestration.pools import clone
from pipeline.orchestration.run.client import Tell
from pipeline.orchestration.run.workspace import Workspace


@dataclass(frozen=True)
class Place:
    """Where a worker works.

    Attributes:
        name: of the worker.
        folder: its own; nobody else works there.
        repository: where it fetches commits from.
        settings: `.dvc/config.local` of a checkout on this machine, or None.
    """

    name: str
    folder: Path
    repository: str
    settings: Path | None = None


class RemoteBuild:
    """The build of one stage on a worker; `cancel` ends it from another thread."""

    def __init__(self, job: Mapping[str, Any], place: Place, log: Tell) -> None:
        """Nothing happens yet.

        Args:
            job: what the build asks for, as `pipeline.orchestration.pools.remote_stage` makes it.
            place: where.
            log: gets every line.
        """
        self._job = job
        self._place = place
        self._log = log
        self._lock = threading.Lock()
        self._workspace: Workspace | None = None
        self._reason: str | None = None

    def cancel(self, reason: str) -> None:
        """End the stage; `run` returns soon and says why."""
        with self._lock:
            self._reason = self._reason or reason
            if self._workspace is not None:
                self._workspace.cancel()

    def run(self) -> dict[str, Any]:
        """Build the stage.

        Returns:
            outcome, message, exit_code and worker; where it ended well also entry, as in dvc.lock, and files, what is
            outside the cache.
        """
        try:
            answer = self._run()
        except (InputError, StageError) as error:
            answer = {"outcome": StageOutcome.FAILED, "message": str(error), "exit_code": error.exit_code}
        if self._reason is not None and answer["outcome"] not in GOOD:
            answer = {"outcome": StageOutcome.CANCELLED, "message": self._reason, "exit_code": ExitCode.PASS}
        return {**answer, "worker": self._place.name}

    def _run(self) -> dict[str, Any]:
        job, place = self._job, self._place
        folder = clone.prepare(place.folder, place.repository, job["commit"], job["path"], job["locks"])
        clone.settings(folder, place.settings)
        with Workspace(folder, self._log) as workspace:
            with self._lock:
                self._workspace = workspace
            # A job that begins after `cancel` would not be ended by it.
            return self._stopped() or self._build(workspace)

    def _build(self, workspace: Workspace) -> dict[str, Any]:
        name = self._job["stage"]
        workspace.ask({"do": "inputs", "stage": name, "files": self._job["files"]}, self._log)
        if stopped := self._stopped():
            return stopped
        stage = PlannedStage(name, (), needs=Needs(time_limit_s=self._job["time_limit_s"]))
        result = workspace.run(stage, Plan(()), self._job["force"], self._log, lambda _: None)
        answer = {"outcome": result.outcome, "message": result.message, "exit_code": result.exit_code}
        if result.outcome not in GOOD:
            return answer
        return answer | workspace.ask({"do": "publish", "stage": name}, self._log)

    def _stopped(self) -> dict[str, Any] | None:
        if self._reason is None:
            return None
        return {"outcome": StageOutcome.CANCELLED, "message": self._reason, "exit_code": ExitCode.PASS}
