"""What DVC does in a process of its own: say what has to be built, and reproduce one stage.

Everything else in `pipeline.orchestration` works without DVC. A worker does what `dvc --wait-for-lock repro
--single-item STAGE` does, with three differences: waiting for DVC's lock costs no polling, dvc.lock is replaced at
once instead of being overwritten in place (a process that is killed leaves the old file or the new one), and its
entries stay in the order that a serial `dvc repro` would leave.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.dvcfile import PROJECT_FILE, Lockfile, load_file
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils import parse_target, relpath
from dvc.utils.serialize import dump_yaml, parse_yaml_for_update

from pipeline.errors import ExitCode, InputError
from pipeline.orchestration.plan import reasons
from pipeline.orchestration.plan.lockfile import UnfinishedBuild, entries, in_order
from pipeline.orchestration.plan.schedule import Outcome
from pipeline.orchestration.plan.summary import stage_exit_code
from pipeline.orchestration.pools import remote_stage
from pipeline.orchestration.run.repository import STATE, heal_run_cache, locked, locked_repo, open_repo
from pipeline.orchestration.sharing.stages import FROM_HERE, ask, fetch, look, push

_BUSY_SECONDS = 0.5
_EXITED = re.compile(r", exited with (-?\d+)$")

Say = Callable[[Mapping[str, Any]], None]


def answer(job: Mapping[str, Any], say: Say) -> None:
    """Do one job and say how it ended: a plan, a stage, the end of a build, or what a pool's worker does around it."""
    work = {
        **{"plan": plan, "stage": reproduce, "finish": finish, "look": look, "push": push},
        **{"inputs": take_inputs, "publish": publish},
    }[job["do"]]
    try:
        say({"answer": work(job, say)})
    except (DvcException, InputError) as error:
        say({"error": ": ".join(_causes(error)), "exit_code": ExitCode.BAD_INPUT})
    except Exception as error:
        what = f"`dvc repro --verbose {job['stage']}` shows where" if "stage" in job else "`dvc status -v` shows where"
        say({"error": f"unexpected {type(error).__name__}: {error} ({what})", "exit_code": ExitCode.BROKEN})


def plan(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Everything about the stages that `targets` need, in the order in which `dvc repro` takes them."""
    with locked_repo() as repo:
        heal_run_cache(repo)
        targets = job["targets"] or ["dvc.yaml"]
        _check_targets(repo, job["targets"])
        graph = get_active_graph(repo.index.graph)
        stages = plan_repro(graph, collect_stages(repo, targets))
        _read_files_once(stages)
        unfinished = UnfinishedBuild(Path(repo.tmp_dir) / STATE / "unfinished.json")
        locks = {_lock_path(stage) for stage in stages} - {None}
        return {
            "locks": {path: unfinished.base(Path(path)) for path in sorted(filter(None, locks))},
            "stages": [_describe(stage, list(graph.successors(stage)), job["force"]) for stage in stages],
            "uncommitted": remote_stage.survey(repo) if any(_meta(stage).get("pool") for stage in stages) else [],
        }


def reproduce(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Reproduce one stage, whatever has become of its upstream, and record it."""
    busy = ""
    while True:
        try:
            with open_repo() as repo:
                brought = _bring(repo, job, say) if job.get("pull") else None
                with locked(repo):
                    return _reproduce(repo, job, say, brought)
        except LockError as error:
            # Another `dvc` works on the same paths. DVC waits for its repository but not for paths.
            if str(error) != busy:
                busy = str(error)
                say({"log": busy.partition("\n\n")[0].replace(" it is being blocked by", " waiting for")})
            time.sleep(_BUSY_SECONDS)


def finish(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """A build has ended with everything built."""
    with locked_repo() as repo:
        UnfinishedBuild(Path(repo.tmp_dir) / STATE / "unfinished.json").forget()
    return {}


def take_inputs(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """On a worker of a pool: have what a stage reads in its place."""
    with locked_repo() as repo:
        remote_stage.take_inputs(repo, job["stage"], job["files"])
    return {}


def publish(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """On a worker of a pool: hand on what a stage made."""
    with locked_repo() as repo:
        return remote_stage.publish(repo, job["stage"])


def _bring(repo: Any, job: Mapping[str, Any], say: Say) -> str | None:
    """Look into the shared cache for a stage that has to run; returns what came from there, in words."""
    with locked(repo):
        stage = _load(repo, job["stage"])
        why = _reasons(stage)
        question = ask(repo, stage) if why else None
    if question is None:
        return None
    say({"why": why})
    return fetch(repo, question, say)


def _load(repo: Any, name: str) -> Any:
    """A stage by its address, with what was read of its files: DVC would parse dvc.lock a second time for it."""
    path, key = parse_target(name)
    file = load_file(repo, repo.fs.abspath(path or PROJECT_FILE))
    stage = file.stages[key]
    stage.dvcfile = file
    return stage


def _reproduce(repo: Any, job: Mapping[str, Any], say: Say, brought: str | None) -> dict[str, Any]:
    stage = _load(repo, job["stage"])
    before = {out.def_path: out.hash_info for out in stage.outs}
    why = [reasons.FORCED] if job["force"] else _reasons(stage)
    say({"why": why})
    restored = _Listener("is cached - skipping run")
    logging.getLogger("dvc.stage.cache").addFilter(restored)
    try:
        state = Path(repo.tmp_dir) / STATE
        with repo.scm_context(quiet=True), remote_stage.in_pool(job.get("pool"), job["force"], state):
            if brought and not _has_command(stage):
                stage.checkout()
                return {"outcome": Outcome.RESTORED, "message": brought, "outs_same": True}
            done = stage.reproduce(force=job["force"])
            if done is None:
                return {"outcome": Outcome.CACHED, "outs_same": True}
            # ruamel takes a second for a dvc.lock of 100 kB, and others wait for DVC's lock meanwhile.
            if not restored.heard or _recorded(stage) != to_single_stage_lockfile(stage):
                _record(repo, stage, job["lock_order"])
    except LockError:
        raise
    except remote_stage.EndedElsewhere as ended:
        return ended.answer
    except DvcException as error:
        return _failure(error)
    same = all(out.hash_info and out.hash_info == before[out.def_path] for out in stage.outs)
    if restored.heard:
        return {"outcome": Outcome.RESTORED, "message": brought or FROM_HERE, "outs_same": same}
    return {"outcome": Outcome.BUILT, "outs_same": same}


def _has_command(stage: Any) -> bool:
    """Whether DVC would run something; what was added and what is frozen is checked out or missing."""
    return bool(stage.cmd) and not stage.frozen


def _failure(error: DvcException) -> dict[str, Any]:
    causes = list(_causes(error))
    exited = next((match for match in map(_EXITED.search, causes) if match), None)
    code = stage_exit_code(int(exited[1])) if exited else ExitCode.BROKEN
    return {"outcome": Outcome.FAILED, "message": ": ".join(causes), "exit_code": code}


def _causes(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__


class _Listener(logging.Filter):
    """Remembers whether a message was logged; DVC tells of a restored stage in no other way."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.heard = False

    def filter(self, record: logging.LogRecord) -> bool:
        self.heard = self.heard or self._words in str(record.msg)
        return True


def _check_targets(repo: Any, targets: Sequence[str]) -> None:
    for target in targets:
        try:
            repo.stage.collect(target)
        except DvcException as error:
            known = [stage.addressing for stage in repo.index.stages]
            groups = [name.partition("@")[0] for name in known]
            close = get_close_matches(target, [*known, *groups], 1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; stages are {', '.join(dict.fromkeys(groups))}"
            raise DvcException(f"no stage '{target}' in dvc.yaml{hint}") from (error if not close else None)


def _read_files_once(stages: Sequence[Any]) -> None:
    """Let all stages of a dvc.yaml share what was read; DVC parses dvc.yaml and dvc.lock anew for each of them."""
    files: dict[str, Any] = {}
    for stage in stages:
        stage.dvcfile = files.setdefault(stage.path, stage.dvcfile)


def _describe(stage: Any, upstream: Sequence[Any], force: bool) -> dict[str, Any]:
    return {
        "name": stage.addressing,
        "upstream": sorted(other.addressing for other in upstream),
        "reasons": [reasons.FORCED] if force else _reasons(stage),
        "outs_clean": not any(out.status() for out in stage.outs),
        "meta": _meta(stage),
        "of_its_machine": remote_stage.describes_its_machine(stage),
        "model": _model(stage),
        "lock": _lock_path(stage),
    }


def _meta(stage: Any) -> dict[str, Any]:
    return stage.meta if isinstance(stage.meta, dict) else {}


def _model(stage: Any) -> str | None:
    """The `model` of a stage that a matrix generates."""
    group = stage.raw_data.generated_from
    if group is None:
        return None
    combinations = stage.dvcfile.resolver.definitions[group].normalized_iterable
    item = combinations.get(stage.name.partition("@")[2])
    return str(item["model"]) if isinstance(item, dict) and "model" in item else None


def _lock_path(stage: Any) -> str | None:
    return str(Path(stage.path).with_suffix(".lock")) if hasattr(stage, "cmd_changed") else None


def _reasons(stage: Any) -> list[str]:
    """Why DVC will run the stage; empty exactly where it skips it."""
    entry = _recorded(stage)
    if entry is None and hasattr(stage, "cmd_changed") and not stage.frozen:
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
        # Of what is neither here nor in the cache DVC says the latter; people miss the file.
        found += [reasons.changed_path(path, word if out.exists else "deleted") for path, word in out.status().items()]
    return found


def _recorded(stage: Any) -> Mapping[str, Any] | None:
    if not hasattr(stage, "cmd_changed"):
        return None
    entry: Mapping[str, Any] | None = stage.dvcfile.lockfile_contents.get("stages", {}).get(stage.name)
    return entry


def _dep_reasons(dep: Any) -> list[str]:
    found = []
    for path, status in dep.status().items():
        if isinstance(dep, ParamsDependency):
            old = dep.hash_info.value if dep.hash_info else {}
            found += reasons.changed_params(path, status, old or {}, dep.read_params() if dep.exists else {})
        else:
            found.append(reasons.changed_path(path, str(status)))
    return found


def _record(repo: Any, stage: Any, lock_order: Mapping[str, Sequence[str]]) -> None:
    """Write the entry of a stage as DVC does, at its place, in one step."""
    path = _lock_path(stage)
    if path is None:
        stage.dump(update_pipeline=False)
        return
    lock = Path(path)
    state = Path(repo.tmp_dir) / STATE
    temporary = state / f"{os.getpid()}.lock"
    order = lock_order.get(path, ())
    unfinished = UnfinishedBuild(state / "unfinished.json")
    base = unfinished.base(lock)
    try:
        if lock.exists():
            shutil.copyfile(lock, temporary)
        with _silent("dvc.dvcfile"):
            Lockfile(repo, str(temporary)).dump_stages([stage])
        _sort(temporary, order)
        temporary.replace(lock)
    finally:
        temporary.unlink(missing_ok=True)
    unfinished.note(lock, [name for name in order if name in set(base)] or base)
    with suppress(KeyError):
        repo.scm_context.files_to_track.remove(relpath(str(temporary)))
        repo.scm_context.track_file(relpath(path))


@contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def _sort(path: Path, order: Sequence[str]) -> None:
    text = path.read_text(encoding="utf-8")
    present = entries(text)
    if present == in_order(present, order):
        return
    content = parse_yaml_for_update(text, str(path))
    for name in in_order(list(content["stages"]), order):
        content["stages"].move_to_end(name)
    dump_yaml(str(path), content)
