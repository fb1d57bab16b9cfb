"""What must hold before stages go to other machines, without any."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.orchestration.plan.needs import Machine, Needs, fits, read_needs
from pipeline.orchestration.plan.stages import Plan, PlannedStage, read_plan
from pipeline.orchestration.pools import clone as clones
from pipeline.orchestration.pools import git, rules
from pipeline.orchestration.pools.leases import Lease
from tests.orchestration import graphs, several

ARM = Needs(pool="arm")
GRAPH = {"a": (), "b": ("a",)}


def entry(name: str, upstream: tuple[str, ...] = (), pool: str | None = None, of_its_machine: bool = False) -> object:
    return {
        "name": name,
        "upstream": upstream,
        "reasons": ["never built"],
        "outs_clean": True,
        "meta": {} if pool is None else {"pool": pool},
        "of_its_machine": of_its_machine,
        "model": None,
        "lock": "dvc.lock",
    }


def plan(*stages: object) -> Plan:
    return read_plan({"stages": list(stages), "locks": {}, "uncommitted": ["a.py"]})


def test_a_pool_takes_nothing_of_this_machine() -> None:
    one = Machine(jobs=1, cores=1, memory_gb=1)
    whole = Needs(pool="arm", cores="all", memory_gb=99, mutex="machine")
    assert fits(whole, [Needs(cores="all")], one)
    assert fits(whole, [whole], one)
    assert fits(Needs(cores="all"), [whole], one)
    assert not fits(Needs(), [whole, Needs()], one)


@pytest.mark.parametrize("name", ["", "a/b", "a%"])
def test_names_that_prefect_refuses_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"dvc\.yaml: stages\.s\.meta\.pool"):
        read_needs("s", {"pool": name})


@pytest.mark.parametrize(("maker", "reader"), [(None, "arm"), ("arm", None), ("x86", "arm")])
def test_who_reads_about_a_machine_must_run_on_it(maker: str | None, reader: str | None) -> None:
    with pytest.raises(InputError, match=r"stages\.host\.meta\.pool is .*stages\.bench\.meta\.pool is .*same pool"):
        plan(entry("host", (), maker, of_its_machine=True), entry("bench", ("host",), reader))


def test_other_outputs_may_be_read_anywhere() -> None:
    stages = plan(entry("a"), entry("b", ("a",), "arm"), entry("c", ("b",), "x86")).stages
    assert [stage.needs.pool for stage in stages] == [None, "arm", "x86"]


def test_a_pool_needs_a_server_that_lasts() -> None:
    with pytest.raises(InputError, match=r"bench \(pool arm\) must run on workers.*bardlet serve.*--pool arm"):
        rules.require(plan(entry("bench", (), "arm")), lasting_server=False)


def test_a_pool_needs_commits() -> None:
    with pytest.raises(InputError, match=r"bench \(pool arm\).*a\.py changed since; commit and push"):
        rules.require(plan(entry("bench", (), "arm")), lasting_server=True)


def test_what_is_up_to_date_needs_nothing() -> None:
    rules.require(Plan((PlannedStage("bench", (), needs=ARM),), uncommitted=("a.py",)), lasting_server=False)


def test_a_build_without_a_server_says_at_once_what_to_do(tmp_path: Path) -> None:
    world = several.World(tmp_path / "root", "stages:\n  a:\n    cmd: echo\n    meta: {pool: arm}\n", {})
    done = graphs.bardlet(world.workspace, "build")
    assert done.returncode == 2
    assert "a (pool arm) must run on workers" in done.stderr


def test_a_worker_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    world = several.World(tmp_path / "root", "stages: {}\n", {})
    done = graphs.bardlet(world.workspace, "worker", "--pool", "arm")
    assert done.returncode == 2
    assert "set PREFECT_API_URL" in done.stderr


def test_changes_of_lock_files_outputs_and_gitignore_do_not_count(tmp_path: Path) -> None:
    world = several.World(tmp_path / "root", "stages: {}\n", {"a.py": "1", "out/x": "1", "b.py": "1"})
    for name in ("a.py", "out/x"):
        (world.workspace / name).write_text("2")
    (world.workspace / "new.py").write_text("not tracked")
    assert git.changed(world.workspace, ["out"]) == ["a.py"]


@pytest.fixture
def world(tmp_path: Path) -> several.World:
    return several.World(tmp_path / "root", "stages: {}\n", {"sub/a.py": "1"})


def test_a_clone_is_brought_to_a_commit_and_cleaned(world: several.World, tmp_path: Path) -> None:
    first = git.head(world.workspace)
    place = tmp_path / "worker"
    place.mkdir()
    clone = clones.prepare(place, str(world.bare), first, "", {"dvc.lock": "one"})
    (clone / "left.py").write_text("by a stage")
    (clone / "sub/a.py").write_text("changed by a stage")
    (world.workspace / "sub/a.py").write_text("2")
    world.publish()
    clone = clones.prepare(place, str(world.bare), git.head(world.workspace), "", {"dvc.lock": ""})
    assert (clone / "sub/a.py").read_text() == "2"
    assert not (clone / "left.py").exists()
    assert not (clone / "dvc.lock").exists()
    assert git.head(clone) == git.head(world.workspace)


def test_a_commit_that_was_not_pushed_is_named(world: several.World, tmp_path: Path) -> None:
    several.git(world.workspace, "commit", "--quiet", "--allow-empty", "--message", "local")
    here = git.head(world.workspace)
    (tmp_path / "worker").mkdir()
    with pytest.raises(InputError, match=f"commit {here[:10]} is not in .*push it"):
        clones.prepare(tmp_path / "worker", str(world.bare), here, "", {})


def test_two_workers_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        clones.hold(tmp_path / "worker"),
        pytest.raises(InputError, match="belongs to a worker that runs"),
        clones.hold(tmp_path / "worker"),
    ):
        pass


def test_a_lease_ends_when_the_other_stops_moving() -> None:
    lease = Lease(seconds=30)
    lease.see(1, now=100)
    lease.see(1, now=125)
    assert not lease.expired(now=130)
    assert lease.expired(now=131)
    lease.see(2, now=131)
    lease.see(None, now=150)
    assert not lease.expired(now=160)
