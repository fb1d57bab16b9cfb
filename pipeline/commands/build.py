"""`bardlet build`: the same result as `dvc repro`, in parallel, as a Prefect flow."""

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import INTERRUPTED, InputError, StageError
from pipeline.orchestration.pages import prefect_server
from pipeline.orchestration.plan.request import Request
from pipeline.orchestration.plan.schedule import StageResult
from pipeline.orchestration.plan.summary import exit_code, summarize
from pipeline.orchestration.pools import rules
from pipeline.orchestration.run.workspace import Workspace


def build(
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="As DVC names them; default: all.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Stages at once; default: one a core.")
    ] = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="M,…", help="Only these models of the fleet.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Run stages that are up to date too.")] = False,
    pull: Annotated[
        bool, typer.Option("--pull/--no-pull", help="Look into the shared cache before a stage runs.")
    ] = True,
    push: Annotated[bool, typer.Option("--push", help="Send what was built to the shared cache.")] = False,
) -> int:
    """Build what is not up to date, several stages at a time.

    Leaves what `dvc repro` leaves, the same dvc.lock byte for byte, and ends with the exit code of the first stage that
    failed. Branches that do not depend on a failed stage are built. `meta:` of a stage in dvc.yaml says how many cores
    and how much memory it takes.
    """
    request = Request(tuple(stages or ()), jobs, _names(models), force, pull, push)
    begin = time.monotonic()
    root = Path()
    prefect_server.set_defaults(root, os.environ)
    with Workspace(root, _tell) as workspace, prefect_server.server(root) as server:
        plan = workspace.plan(request.targets, request.models, request.force)
        rules.require(plan, server.lasting)
        if request.pull:
            workspace.share(plan)
        _tell(plan.summary())
        for name, why in plan.left_out.items():
            _tell(f"left out: {name} ({why})")
        os.environ["PREFECT_API_URL"] = server.api
        flow = import_module("pipeline.flow.build")
        server.wait()
        try:
            results = flow.run(workspace, plan, request, _tell)
        except KeyboardInterrupt:
            _tell("interrupted; all stages were ended, the next build resumes here")
            return INTERRUPTED
        print(summarize(results, time.monotonic() - begin), flush=True)
        code = exit_code(results)
        return _push(workspace, results, code) if request.push else code


def _push(workspace: Workspace, results: Sequence[StageResult], code: int) -> int:
    """Share what was built; a failure of it counts where the build itself had none."""
    try:
        _tell(workspace.push(results))
    except KeyboardInterrupt:
        _tell("interrupted; what had not arrived is sent by the next --push")
        return INTERRUPTED
    except StageError as error:
        if not code:
            raise
        _tell(f"error: {error}")
    return code


def _names(models: str | None) -> tuple[str, ...]:
    if models is None:
        return ()
    names = tuple(name.strip() for name in models.split(",") if name.strip())
    if not names:
        raise InputError("--models: expected names of models with commas between them, got nothing")
    return names


def _tell(line: str) -> None:
    print(f"build: {line}" if not line.startswith("[") else line, file=sys.stderr, flush=True)
