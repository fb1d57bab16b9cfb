"""A job that DVC does in a process of its own: say what has to be built, reproduce one stage, look, push.

The build itself works without DVC. To reproduce a stage, a job does what `dvc --wait-for-lock repro --single-item
STAGE` does, with three differences. It does not poll while it waits for DVC's lock. It replaces dvc.lock at once and
does not overwrite it in place, so a process that is killed leaves the old file or the new one. It keeps the entries
of dvc.lock in the order that a serial `dvc repro` would leave.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ExitCode, InputError
from pipeline.orchestration.dvc_inside import commands, graph, lock_file, run_cache
from pipeline.orchestration.dvc_inside.errors import BusyError, DvcError, causes
from pipeline.orchestration.dvc_inside.repository import locked, locked_repo, open_repo, state_folder
from pipeline.orchestration.plan import reasons
from pipeline.orchestration.plan.lockfile import UnfinishedBuild
from pipeline.orchestration.plan.schedule import StageOutcome
from pipeline.orchestration.plan.summary import stage_exit_code
from pipeline.orchestration.pools import remote_stage
from pipeline.orchestration.sharing.stages import FROM_HERE, Say, ask, fetch, look, push

_BUSY_SECONDS = 0.5


def do(job: Mapping[str, Any], say: Say) -> None:
    """Do the job that `job["do"]` names and say its answer or its error."""
    work = {
        **{"plan": plan, "stage": reproduce, "finish": finish, "look": look, "push": push},
        **{"inputs": take_inputs, "publish": publish},
    }[job["do"]]
    try:
        say({"answer": work(job, say)})
    except (DvcError, InputError) as error:
        say({"error": ": ".join(causes(error)), "exit_code": ExitCode.BAD_INPUT})
    except Exception as error:
        what = f"`dvc repro --verbose {job['stage']}` shows where" if "stage" in job else "`dvc status -v` shows where"
        say({"error": f"unexpected {type(error).__name__}: {error} ({what})", "exit_code": ExitCode.BROKEN})


def plan(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Describe the stages that `targets` need, in the order in which `dvc repro` takes them."""
    with locked_repo() as repo:
        run_cache.heal(repo)
        ordered = graph.serial_order(repo, job["targets"])
        stages = [stage for stage, _ in ordered]
        unfinished = _unfinished(repo)
        locks = {graph.lock_path(stage) for stage in stages} - {None}
        return {
            "locks": {path: unfinished.base(Path(path)) for path in sorted(filter(None, locks))},
            "stages": [_describe(stage, upstream, job["force"]) for stage, upstream in ordered],
            "uncommitted": remote_stage.survey(repo) if any(_meta(stage).get("pool") for stage in stages) else [],
        }


def reproduce(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Reproduce one stage and record it; stages before it are left alone."""
    busy = ""
    while True:
        try:
            with open_repo() as repo:
                brought = _bring(repo, job, say) if job.get("pull") else None
                with locked(repo):
                    return _reproduce(repo, job, say, brought)
        except BusyError as error:
            # Another `dvc` works on the same paths. DVC waits for its repository but not for paths.
            if str(error) != busy:
                busy = str(error)
                say({"log": busy.partition("\n\n")[0].replace(" it is being blocked by", " waiting for")})
            time.sleep(_BUSY_SECONDS)


def finish(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Note that a build has ended with everything built."""
    with locked_repo() as repo:
        _unfinished(repo).forget()
    return {}


def take_inputs(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Put what a stage reads in its place, on a worker of a pool."""
    with locked_repo() as repo:
        remote_stage.take_inputs(repo, job["stage"], job["files"])
    return {}


def publish(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Hand on what a stage made, on a worker of a pool."""
    with locked_repo() as repo:
        return remote_stage.publish(repo, job["stage"])


def _unfinished(repo: Any) -> UnfinishedBuild:
    return UnfinishedBuild(state_folder(repo) / "unfinished.json")


def _bring(repo: Any, job: Mapping[str, Any], say: Say) -> str | None:
    """Look into the shared cache for a stage that has to run; returns what came from there, in words."""
    with locked(repo):
        stage = graph.load_stage(repo, job["stage"])
        why = _reasons(stage)
        question = ask(repo, stage) if why else None
    if question is None:
        return None
    say({"why": why})
    return fetch(repo, question, say)


def _reproduce(repo: Any, job: Mapping[str, Any], say: Say, brought: str | None) -> dict[str, Any]:
    stage = graph.load_stage(repo, job["stage"])
    before = {out.def_path: out.hash_info for out in stage.outs}
    why = [reasons.FORCED] if job["force"] else _reasons(stage)
    say({"why": why})
    try:
        pool = remote_stage.in_pool(job.get("pool"), job["force"], state_folder(repo))
        with repo.scm_context(quiet=True), pool, commands.listening_for_restored() as restored:
            if brought and not _has_command(stage):
                stage.checkout()
                return {"outcome": StageOutcome.RESTORED, "message": brought, "outs_same": True}
            done = stage.reproduce(force=job["force"])
            if done is None:
                return {"outcome": StageOutcome.CACHED, "outs_same": True}
            # ruamel takes a second for a dvc.lock of 100 kB, and others wait for DVC's lock meanwhile.
            if not restored.heard or graph.recorded_entry(stage) != graph.current_entry(stage):
                _record(repo, stage, job["lock_order"])
    except BusyError:
        raise
    except remote_stage.EndedElsewhere as ended:
        return ended.answer
    except DvcError as error:
        return _failure(error)
    same = all(out.hash_info and out.hash_info == before[out.def_path] for out in stage.outs)
    if restored.heard:
        return {"outcome": StageOutcome.RESTORED, "message": brought or FROM_HERE, "outs_same": same}
    return {"outcome": StageOutcome.BUILT, "outs_same": same}


def _has_command(stage: Any) -> bool:
    """Whether DVC would run something; what was added and what is frozen is checked out or missing."""
    return bool(stage.cmd) and not stage.frozen


def _failure(error: BaseException) -> dict[str, Any]:
    status = commands.exit_status(error)
    code = ExitCode.BROKEN if status is None else stage_exit_code(status)
    return {"outcome": StageOutcome.FAILED, "message": ": ".join(causes(error)), "exit_code": code}


def _describe(stage: Any, upstream: Sequence[Any], force: bool) -> dict[str, Any]:
    return {
        "name": stage.addressing,
        "upstream": sorted(other.addressing for other in upstream),
        "reasons": [reasons.FORCED] if force else _reasons(stage),
        "outs_clean": not any(out.status() for out in stage.outs),
        "meta": _meta(stage),
        "of_its_machine": remote_stage.describes_its_machine(stage),
        "model": graph.model_of(stage),
        "lock": graph.lock_path(stage),
    }


def _meta(stage: Any) -> dict[str, Any]:
    return stage.meta if isinstance(stage.meta, dict) else {}


def _reasons(stage: Any) -> list[str]:
    """Why DVC will run the stage; empty exactly where it skips it."""
    entry = graph.recorded_entry(stage)
    if entry is None and graph.lock_path(stage) is not None and not stage.frozen:
        return [reasons.NEVER_BUILT]
    found = []
    if stage.changed_stage():
        found.append(reasons.changed_command(str((entry or {}).get("cmd")), str(stage.cmd)))
    if not stage.frozen:
        if stage.is_callback or stage.always_changed:
            found.append(reasons.ALWAYS)
        for dep in stage.deps:
            found += _dep_reasons(dep)
    for out in stage.outs:
        # DVC says "not in cache" of an output that is neither here nor in the cache; people miss the file.
        found += [reasons.changed_path(path, word if out.exists else "deleted") for path, word in out.status().items()]
    return found


def _dep_reasons(dep: Any) -> list[str]:
    found = []
    for path, status in dep.status().items():
        if graph.is_parameters(dep):
            old = dep.hash_info.value if dep.hash_info else {}
            found += reasons.changed_params(path, status, old or {}, dep.read_params() if dep.exists else {})
        else:
            found.append(reasons.changed_path(path, str(status)))
    return found


def _record(repo: Any, stage: Any, lock_order: Mapping[str, Sequence[str]]) -> None:
    """Write the entry of a stage as DVC does, at its place, in one step."""
    path = graph.lock_path(stage)
    if path is None:
        stage.dump(update_pipeline=False)
        return
    lock = Path(path)
    temporary = state_folder(repo) / f"{os.getpid()}.lock"
    order = lock_order.get(path, ())
    unfinished = _unfinished(repo)
    base = unfinished.base(lock)
    try:
        if lock.exists():
            shutil.copyfile(lock, temporary)
        lock_file.write_entry(repo, stage, temporary)
        lock_file.sort_entries(temporary, order)
        temporary.replace(lock)
    finally:
        temporary.unlink(missing_ok=True)
    unfinished.note(lock, [name for name in order if name in set(base)] or base)
    lock_file.announce(repo, temporary, lock)
