"""Does DVC's part for a stage that runs on another machine, on both sides; runs in a job.

The build's side replaces the one step of DVC that starts a shell. Everything around it stays DVC's own: looking in the
run-cache, locks on paths, removing outputs, hashing, committing, dvc.lock. So a stage from elsewhere leaves the same
bytes as one from here.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ExitCode, InputError
from pipeline.orchestration.dvc_inside import commands, graph, lock_file
from pipeline.orchestration.plan.schedule import StageOutcome
from pipeline.orchestration.pools import git
from pipeline.orchestration.pools.transfer import Carrier, check_out, inputs, read_files, relative, write_files

# Files outside the cache travel with the request and with the answer, through Prefect's database.
INPUT_BYTES = 128 * 1024
OUTPUT_BYTES = 1024 * 1024
_WORKERS = "pool-workers.json"


class EndedElsewhere(Exception):  # noqa: N818  # a cancelled stage is no error
    """The stage did not end well; `answer` says how."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer["message"])
        self.answer = dict(answer)


def survey(repo: Any) -> list[str]:
    """Changed files that a worker would not see. It gets lock files and outputs from this build."""
    apart = [relative(repo, out.fs_path) for out in repo.index.outs]
    locks = {graph.lock_path(stage) for stage in repo.index.stages}
    apart += [relative(repo, path) for path in locks if path is not None]
    # DVC itself adds outputs to these.
    return [name for name in git.changed(Path(repo.root_dir), apart) if Path(name).name != ".gitignore"]


@contextmanager
def in_pool(pool: Mapping[str, Any] | None, force: bool, state: Path) -> Iterator[None]:
    """While it lasts, DVC runs commands of stages on a worker of `pool`, if there is one.

    Args:
        pool: {"name": POOL, "api": address of Prefect's server or None, "time_limit_s": S or None}.
        force: the worker must not look in its run-cache.
        state: folder in which the build remembers which worker made what.

    Raises:
        EndedElsewhere: it failed there, was cancelled, or could not be sent.
    """
    if pool is None:
        yield
        return

    with commands.commands_run_by(lambda stage: _run_there(stage, pool, force, state / _WORKERS)):
        yield


def _run_there(stage: Any, pool: Mapping[str, Any], force: bool, memory: Path) -> None:
    repo = stage.repo
    stage.save_deps()
    fresh = graph.find_stage(repo, stage.addressing)
    makers = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    try:
        job = _job(repo, fresh, force, pool)
        job["worker"] = _same_machine(repo, fresh, makers)
        carrier = Carrier(repo)
        for out, part in inputs(repo, fresh):
            carrier.send(out, part)
        print(f"inputs are in the DVC remote; asking pool {pool['name']} for commit {job['commit'][:10]}", flush=True)
    except InputError as error:
        raise EndedElsewhere(_failed(str(error), ExitCode.BAD_INPUT)) from error
    answer = _ask({"pool": pool["name"], "api": pool["api"], "job": job})
    if answer["outcome"] not in (StageOutcome.BUILT, StageOutcome.RESTORED, StageOutcome.CACHED):
        raise EndedElsewhere(answer)
    _check_inputs(stage, fresh, answer)
    try:
        _place_outputs(repo, carrier, fresh, answer)
    except InputError as error:
        raise EndedElsewhere(_failed(str(error), ExitCode.BROKEN)) from error
    memory.write_text(json.dumps({**makers, stage.addressing: answer["worker"]}), encoding="utf-8")


def _failed(message: str, code: int) -> dict[str, Any]:
    return {"outcome": StageOutcome.FAILED, "message": message, "exit_code": code}


def _job(repo: Any, stage: Any, force: bool, pool: Mapping[str, Any]) -> dict[str, Any]:
    """What the worker has to know, as JSON takes it."""
    root = Path(repo.root_dir)
    if any(out.persist for out in stage.outs):
        raise InputError(f"dvc.yaml: stages.{stage.addressing}: an output with `persist` cannot come from a pool")
    sources = inputs(repo, stage)
    made = [out.fs_path for out, _ in sources]
    for dep in stage.deps:
        known = any(dep.fs.overlaps(dep.fs_path, path) for path in made)
        if not known and not graph.is_parameters(dep) and not git.is_tracked(root, dep.fs_path):
            raise InputError(
                f"{stage.addressing} reads {dep.def_path}, which is neither in Git nor an output: no worker has it"
            )
    return {
        "stage": stage.addressing,
        "commit": git.head(root),
        "path": git.prefix(root),
        "locks": _locks(repo, [stage, *{out.stage for out, _ in sources}]),
        "files": read_files([out for out, _ in sources if not out.use_cache], INPUT_BYTES),
        "force": force,
        "time_limit_s": pool["time_limit_s"],
    }


def _same_machine(repo: Any, stage: Any, makers: Mapping[str, str]) -> str | None:
    """The worker that made what this stage reads about its machine."""
    upstream = graph.upstream_of(repo, stage)
    found = [makers.get(other.addressing) for other in upstream if describes_its_machine(other)]
    return next(iter(filter(None, found)), None)


def describes_its_machine(stage: Any) -> bool:
    """Whether every build makes it anew and the cache does not keep it."""
    return bool(stage.always_changed) and any(not out.use_cache for out in stage.outs)


def _ask(request: Mapping[str, Any]) -> dict[str, Any]:
    """Start the stage's run in Prefect, wait for its end, and print its log on the way."""
    # Prefect is slow to import and starts threads: a process of its own, which on SIGTERM cancels the run over there.
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.flow.pool"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    said, _ = process.communicate(json.dumps(request))
    try:
        answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        return _failed(f"what asks pool {request['pool']} ended with {process.returncode}", ExitCode.BROKEN)
    return answer


def _check_inputs(stage: Any, fresh: Any, answer: Mapping[str, Any]) -> None:
    """The worker must have read what is here; an untracked file in a folder of sources would make a difference."""
    graph.take_entry(fresh, answer["entry"])
    there = {dep.def_path: dep.hash_info for dep in fresh.deps}
    differ = [dep.def_path for dep in stage.deps if there[dep.def_path] != dep.hash_info]
    if differ:
        message = f"worker {answer['worker']} read another {', '.join(differ)} than is here: uncommitted files in it?"
        raise EndedElsewhere(_failed(message, ExitCode.BAD_INPUT))


def _place_outputs(repo: Any, carrier: Carrier, stage: Any, answer: Mapping[str, Any]) -> None:
    for out in stage.outs:
        if out.use_cache:
            carrier.bring(out)
            check_out(out)
    # A worker may write the outputs of its stage and nothing else.
    own = {relative(repo, out.fs_path) for out in stage.outs if not out.use_cache}
    write_files(Path(repo.root_dir), {name: file for name, file in answer["files"].items() if name in own})


def take_inputs(repo: Any, name: str, files: Mapping[str, Any]) -> None:
    """Put what a stage reads in its place on the worker, from the DVC remote and from the request.

    Raises:
        InputError: the remote lacks something.
    """
    carrier = Carrier(repo)
    for out, part in inputs(repo, graph.find_stage(repo, name)):
        if out.use_cache:
            carrier.bring(out, part)
            check_out(out, part)
    write_files(Path(repo.root_dir), files)


def publish(repo: Any, name: str) -> dict[str, Any]:
    """Push what a stage made on the worker, with its run-cache entry; returns what else the build needs.

    Raises:
        InputError: the remote did not take it, or an output outside the cache is too large.
    """
    stage = graph.find_stage(repo, name)
    carrier = Carrier(repo)
    for out in stage.outs:
        if out.use_cache:
            carrier.send(out)
    carrier.send_entry(stage)
    entry = graph.recorded_entry(stage)
    outside = [out for out in stage.outs if not out.use_cache]
    return {"entry": json.loads(json.dumps(entry)), "files": read_files(outside, OUTPUT_BYTES)}


def _locks(repo: Any, stages: list[Any]) -> dict[str, str]:
    """The entries of these stages by dvc.lock; a whole dvc.lock would not fit into Prefect's parameters."""
    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        path = graph.lock_path(stage)
        if path is not None:
            cut = found.setdefault(relative(repo, path), {})
            if (entry := graph.recorded_entry(stage)) is not None:
                cut[stage.name] = entry
    return {path: lock_file.lock_text(cut) for path, cut in found.items()}
