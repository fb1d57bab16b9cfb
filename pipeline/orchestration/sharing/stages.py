"""Finds what restores a stage in the shared cache, and sends what a stage left there; runs in a job.

Asking which objects restore a stage takes DVC's lock for a moment. Transferring them does not hold it, so gigabytes of
one stage do not stop the others. What was brought lies in the cache of this clone, where DVC finds it as if it had
been built here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.orchestration.dvc_inside import graph, run_cache
from pipeline.orchestration.dvc_inside.object_store import HASH, files_of_folder
from pipeline.orchestration.dvc_inside.repository import locked, open_repo
from pipeline.orchestration.dvc_inside.run_cache import Entry
from pipeline.orchestration.sharing.remote import AbsentError, Remote, Traffic, default_remote
from pipeline.orchestration.sharing.storage import RemoteError, describe, show_bytes

# Sends one message of a job to the build.
Say = Callable[[Mapping[str, Any]], None]
FROM_HERE = "from the cache of this clone"


@dataclass(frozen=True)
class Question:
    """What would restore a stage.

    Attributes:
        recorded: its entry in dvc.lock, if that is what it has to be.
        key: of the run-cache, if dvc.lock does not say.
        known: entries of this clone's run-cache for `key`.
    """

    recorded: Entry | None = None
    key: str | None = None
    known: Mapping[str, Entry] = field(default_factory=dict)


def look(_: Mapping[str, Any], __: Say) -> dict[str, Any]:
    """Find out whether there is a shared cache and whether it answers."""
    with open_repo() as repo:
        try:
            remote = default_remote(repo)
            if remote is None:
                return {"state": "none"}
            return {"state": "empty" if remote.is_empty() else "ready", "name": remote.name, "where": remote.where}
        except RemoteError as trouble:
            return {"state": "trouble", "why": str(trouble)}


def fetch(repo: Any, question: Question, say: Say) -> str | None:
    """Fetch what restores a stage; returns where it came from, in words, None if the stage has to be built.

    Trouble is said and raises nothing, because the stage can still be built.
    """
    try:
        remote = default_remote(repo)
        came = bring(repo, question, remote, say) if remote else None
    except Exception as error:
        say({"shared": describe(error)})
        return None
    if remote is None or came is None:
        return None
    return f"from {remote.name}, {came}" if came.files else FROM_HERE


def ask(repo: Any, stage: Any) -> Question | None:
    """Say what would restore a stage that has to run; None where nothing could. Call it with the repository locked."""
    if not stage.cmd or stage.frozen:
        # Somebody added this data with `dvc add`, so there is nothing that could build it.
        return Question(recorded=_outputs(stage.outs)) if all(out.hash_info for out in stage.outs) else None
    if stage.always_changed or stage.is_callback or not all(dep.exists for dep in stage.deps):
        return None
    # As dvc.stage.cache.StageCache.restore decides between the two.
    if not stage.changed_stage() and stage.deps_cached() and all(out.hash_info for out in stage.outs):
        return Question(recorded=graph.current_entry(stage))
    stage.save_deps()
    if not run_cache.is_kept(stage):
        return None
    key = run_cache.key_of(stage)
    return Question(key=key, known=run_cache.known_entries(repo, key))


def bring(repo: Any, question: Question, remote: Remote, say: Say) -> Traffic | None:
    """Bring what restores a stage into this clone's cache; returns how much came, None if it has to be built.

    Raises:
        RemoteError: the shared cache is out of reach or refuses us.
    """
    if question.recorded is not None:
        return _bring(repo, question.recorded, remote, say)
    assert question.key is not None
    for name, entry in question.known.items():
        if _is_here(repo, entry, remote):
            run_cache.make_newest(repo, question.key, name, entry)
            return Traffic()
    tried = set()
    for name, entry in _all_entries(question, remote):
        if name not in tried:
            tried.add(name)
            came = _bring(repo, entry, remote, say)
            if came is not None:
                run_cache.make_newest(repo, question.key, name, entry)
                return came
    return None


def _all_entries(question: Question, remote: Remote) -> Iterator[tuple[str, Entry]]:
    assert question.key is not None
    yield from remote.entries(question.key)
    yield from question.known.items()


def _bring(repo: Any, entry: Entry, remote: Remote, say: Say) -> Traffic | None:
    tops = _objects(entry)
    if tops is None:
        return None
    if set(tops) - remote.have(list(tops)):
        size = show_bytes(sum(out.get("size") or 0 for out in entry["outs"]))
        say({"log": f"fetching {', '.join(sorted(tops.values()))} ({size}) from {remote.name}"})
    try:
        came = remote.get({oid: path for oid, path in tops.items() if oid.endswith(".dir")})
        came += remote.get(_with_contents(repo, tops))
    except AbsentError as lacking:
        say({"log": f"not restored: {lacking}"})
        return None
    return came


def _is_here(repo: Any, entry: Entry, remote: Remote) -> bool:
    tops = _objects(entry)
    if tops is None or set(tops) - remote.have(list(tops)):
        return False
    everything = _with_contents(repo, tops)
    return not set(everything) - remote.have(list(everything))


def _objects(entry: Entry) -> dict[str, str] | None:
    """Objects of an entry's outputs with their paths, contents of folders apart; None for what we do not know."""
    found = {}
    for out in entry.get("outs", []):
        if out.get("hash") != HASH or not out.get(HASH):
            return None
        found[out[HASH]] = out["path"]
    return found


def _with_contents(repo: Any, tops: Mapping[str, str]) -> dict[str, str]:
    found = dict(tops)
    for oid, path in tops.items():
        if oid.endswith(".dir"):
            found.update({file: f"{path}/{'/'.join(parts)}" for file, parts in files_of_folder(repo, oid)})
    return found


def push(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Send outputs and run-cache entries of stages: objects first, so that no entry promises what is not there."""
    with open_repo() as repo:
        try:
            remote = default_remote(repo)
            if remote is None:
                return {"trouble": "no remote is configured: `dvc remote default` names one"}
            with locked(repo):
                sendings = [_sending(repo, stage) for name in job["stages"] for stage in repo.stage.collect(name)]
            came = remote.put(sorted({oid for sending in sendings for oid in sending.oids}))
            entries = sum(_put_entry(repo, remote, sending) for sending in sendings)
        except RemoteError as trouble:
            return {"trouble": str(trouble)}
    return {"where": remote.where, "traffic": str(came), "files": came.files, "entries": entries}


def put_entry_of(repo: Any, stage: Any, remote: Remote) -> None:
    """Send the run-cache entry of a stage whose outputs the remote has; call it with the repository locked.

    A stage whose results are not shared has no entry: one that always runs, or has outputs outside the cache.

    Raises:
        RemoteError: it did not arrive.
    """
    _put_entry(repo, remote, _sending(repo, stage))


def _put_entry(repo: Any, remote: Remote, sending: "_Sending") -> bool:
    if sending.key is None or sending.name is None:
        return False
    return remote.put_entry(sending.key, sending.name, run_cache.path_of(repo, sending.key, sending.name))


@dataclass(frozen=True)
class _Sending:
    oids: frozenset[str]
    key: str | None = None
    name: str | None = None


def _sending(repo: Any, stage: Any) -> _Sending:
    cached = [out for out in stage.outs if out.use_cache and out.can_push and out.hash_info and not out.remote]
    tops = _objects(_outputs(cached))
    cache = repo.cache.local
    if tops is None or set(tops) - set(cache.oids_exist(list(tops))):
        # An output that this clone lacks was never needed here, or is lost. There is nothing to send.
        return _Sending(frozenset())
    oids = _with_contents(repo, tops)
    here = set(cache.oids_exist(list(oids)))
    complete = len(here) == len(oids) and len(cached) == len(stage.outs) and stage.cmd and not stage.changed_stage()
    if not complete or not run_cache.is_kept(stage):
        return _Sending(frozenset(here))
    # One that `dvc commit` or `dvc pull` recorded has no entry yet.
    return _Sending(frozenset(here), *run_cache.keep(repo, stage))


def _outputs(outs: Sequence[Any]) -> Entry:
    def describe(out: Any) -> dict[str, Any]:
        return {"path": out.def_path, "hash": out.hash_name, HASH: out.hash_info.value, "size": out.meta.size}

    return {"outs": [describe(out) for out in outs]}
