"""Every part of DVC's inside that a build relies on is there, by name. Run this first with a new version of DVC."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.orchestration import dvc_inside
from tests.orchestration import graphs

FOLDER = Path(str(dvc_inside.__file__)).parent
PACKAGES = {"dvc", "dvc_data", "dvc_objects"}
# What is imported, by module.
IMPORTED = {
    "dvc.cachemgr": {"CacheManager"},
    "dvc.config": {"Config"},
    "dvc.dependency": {"ParamsDependency"},
    "dvc.dvcfile": {"PROJECT_FILE", "Lockfile", "load_file"},
    "dvc.exceptions": {"DvcException"},
    "dvc.fs": {"get_cloud_fs"},
    "dvc.lock": {"Lock", "LockError"},
    "dvc.repo": {"Repo", "lock_repo"},
    "dvc.repo.reproduce": {"collect_stages", "get_active_graph", "plan_repro"},
    "dvc.schema": {"COMPILED_LOCK_FILE_STAGE_SCHEMA"},
    "dvc.stage": {"PipelineStage"},
    "dvc.stage.cache": {"_can_hash", "_get_cache_hash", "_get_stage_hash"},
    "dvc.stage.loader": {"StageLoader"},
    "dvc.stage.run": {"cmd_run"},
    "dvc.stage.serialize": {"to_single_stage_lockfile"},
    "dvc.utils": {"parse_target", "relpath"},
    "dvc.utils.serialize": {"dump_yaml", "dumps_yaml", "parse_yaml", "parse_yaml_for_update"},
    "dvc_data.hashfile.db": {"get_odb"},
    "dvc_data.hashfile.hash_info": {"HashInfo"},
    "dvc_data.hashfile.tree": {"Tree"},
}
# What is called, and what it is called with.
CALLED = {
    ("dvc.cachemgr", "CacheManager.FILES_DIR"): None,
    ("dvc.config", "Config.from_cwd"): {"kwargs"},
    ("dvc.dvcfile", "Lockfile.dump_stages"): {"stages"},
    ("dvc.fs", "get_cloud_fs"): {"repo_config", "kwargs"},
    ("dvc.lock", "Lock.__init__"): {"lockfile", "wait"},
    ("dvc.lock", "Lock.lock"): set(),
    ("dvc.lock", "Lock.unlock"): set(),
    ("dvc.repo", "Repo.__init__"): {"_wait_for_lock"},
    ("dvc.repo.scm_context", "SCMContext.track_file"): {"paths"},
    ("dvc.stage", "Stage.reproduce"): {"kwargs"},
    ("dvc.stage.cache", "StageCache._get_cache_dir"): {"key"},
    ("dvc.stage.cache", "StageCache._get_cache_path"): {"key", "value"},
    ("dvc.stage.cache", "StageCache.save"): {"stage"},
    ("dvc.stage.cache", "_get_cache_hash"): {"cache", "key"},
    ("dvc.stage.loader", "StageLoader.fill_from_lock"): {"stage", "lock_data"},
    ("dvc.stage.run", "cmd_run"): {"stage", "dry", "run_env"},
    ("dvc_data.hashfile.db", "get_odb"): {"fs", "path"},
    ("dvc_data.hashfile.tree", "Tree.load"): {"odb", "hash_info"},
    ("dvc_objects.db", "ObjectDB.add"): {"path", "fs", "oid", "hardlink", "on_error", "check_exists"},
    ("dvc_objects.db", "ObjectDB.oids_exist"): {"oids"},
    ("dvc_data.hashfile.db", "HashFileDB.add"): {"kwargs"},
}
# What is read of the objects that DVC makes.
STAGE = {
    "addressing", "always_changed", "changed_stage", "checkout", "cmd", "deps", "deps_cached", "dump", "dvcfile",
    "frozen", "is_callback", "meta", "name", "outs", "path", "raw_data", "repo", "reproduce", "save_deps", "wdir",
}  # fmt: skip
OUTPUT = {
    "can_push", "checkout", "def_path", "exists", "fs", "fs_path", "hash_info", "hash_name", "meta", "persist",
    "remote", "repo", "stage", "status", "use_cache",
}  # fmt: skip
PARAMETERS = {"def_path", "exists", "fs", "fs_path", "hash_info", "read_params", "status"}
REPO = {
    "cache", "config", "fs", "index", "lock", "root_dir", "scm_context", "stage", "stage_cache", "tmp_dir",
}  # fmt: skip


def imports() -> Iterator[tuple[str, str]]:
    """Modules of DVC and the names that `dvc_inside` has from them."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
                yield from ((node.module, alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                # `import dvc.stage.run` stands there for the one function that is replaced.
                yield from ((alias.name, "cmd_run") for alias in node.names if alias.name.split(".")[0] in PACKAGES)


def find(module: str, name: str) -> Any:
    try:
        found: Any = import_module(module)
    except ImportError as error:
        pytest.fail(f"DVC has no module {module} any more ({error}): adapt pipeline/orchestration/dvc_inside")
    for part in name.split("."):
        if not hasattr(found, part):
            pytest.fail(f"DVC has no {module}.{name} any more: adapt pipeline/orchestration/dvc_inside")
        found = getattr(found, part)
    return found


def lacking(thing: object, names: set[str]) -> list[str]:
    return sorted(name for name in names if not hasattr(thing, name))


def test_this_test_names_everything_that_is_imported() -> None:
    assert set(imports()) == {(module, name) for module, names in IMPORTED.items() for name in names}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in IMPORTED for name in IMPORTED[module]])
def test_dvc_has_what_is_imported(module: str, name: str) -> None:
    find(module, name)


@pytest.mark.parametrize(("module", "name"), CALLED)
def test_dvc_takes_the_arguments_that_it_gets(module: str, name: str) -> None:
    thing, wanted = find(module, name), CALLED[module, name]
    if wanted is not None:
        lacks = wanted - set(inspect.signature(thing).parameters)
        assert not lacks, f"{module}.{name} takes no {', '.join(sorted(lacks))} any more: adapt dvc_inside"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    root = graphs.write(tmp_path / "workspace", {"a": (), "b": ("a",)})
    with (root / "dvc.yaml").open("a") as stream:
        stream.write("  each:\n    foreach: {m: 1}\n    do: {cmd: 'touch ${key}', outs: ['${key}']}\n")
        stream.write("  all:\n    matrix: {model: [m]}\n    cmd: touch ${item.model}2\n    outs: ['${item.model}2']\n")
    monkeypatch.chdir(root)
    with import_module("dvc.repo").Repo() as found:
        yield found


# Imported late: where DVC lacks a name, the tests above say which, and these two modules cannot be imported.
@pytest.fixture
def graph() -> ModuleType:
    return import_module("pipeline.orchestration.dvc_inside.graph")


@pytest.fixture
def commands() -> ModuleType:
    return import_module("pipeline.orchestration.dvc_inside.commands")


def test_dvcs_objects_have_the_attributes_that_are_read(repo: Any, graph: ModuleType) -> None:
    stage = graph.load_stage(repo, "b")
    parameters = [dep for dep in stage.deps if graph.is_parameters(dep)]
    assert not lacking(repo, REPO)
    assert not lacking(repo.stage_cache, {"cache_dir", "save"})
    assert not lacking(repo.scm_context, {"files_to_track", "track_file"})
    assert not lacking(stage, STAGE)
    assert not lacking(stage.dvcfile, {"lockfile_contents", "resolver", "stages"})
    assert not lacking(stage.outs[0], OUTPUT)
    assert not lacking(stage.outs[0].fs, {"isin", "isin_or_eq", "overlaps", "relparts"})
    assert not lacking(parameters[0], PARAMETERS)
    assert not lacking(repo.cache.local, {"add", "exists", "fs", "oid_to_path", "oids_exist"})


def test_generated_stages_know_their_group_and_its_items(repo: Any, graph: ModuleType) -> None:
    each, matrix = (graph.load_stage(repo, name) for name in ("each@m", "all@m"))
    assert (each.raw_data.generated_from, matrix.raw_data.generated_from) == ("each", "all")
    definitions = matrix.dvcfile.resolver.definitions
    assert not lacking(definitions["each"], {"normalized_iterable", "resolved_iterable"})
    assert not lacking(definitions["all"], {"normalized_iterable", "matrix_data"})
    assert not hasattr(definitions["each"], "matrix_data")
    assert [graph.model_of(graph.load_stage(repo, name)) for name in ("each@m", "all@m", "a")] == ["m", "m", None]


def test_the_serial_order_is_that_of_dvc_repro(repo: Any, graph: ModuleType) -> None:
    ordered = graph.serial_order(repo, ["b"])
    names = [(stage.addressing, [other.addressing for other in upstream]) for stage, upstream in ordered]
    assert names == [("a", []), ("b", ["a"])]


def test_dvc_runs_a_stage_by_the_function_that_is_replaced_and_says_when_it_restores(
    repo: Any, graph: ModuleType, commands: ModuleType
) -> None:
    ran = []

    def run(stage: Any) -> None:
        ran.append(stage.addressing)
        Path("a.txt").write_text("from elsewhere")

    with repo.lock, commands.commands_run_by(run), commands.listening_for_restored() as restored:
        graph.load_stage(repo, "a").reproduce()
    assert (ran, restored.heard) == (["a"], False)
    Path("a.txt").unlink()
    with repo.lock, commands.commands_run_by(run), commands.listening_for_restored() as restored:
        graph.load_stage(repo, "a").reproduce()
    assert (ran, restored.heard) == (["a"], True)


def test_dvc_says_how_a_command_ended(repo: Any, graph: ModuleType, commands: ModuleType) -> None:
    stage = graph.load_stage(repo, "a")
    stage.cmd = "exit 3"
    with repo.lock, pytest.raises(Exception) as failed:
        stage.reproduce()
    assert commands.exit_status(failed.value) == 3
    assert commands.exit_status(ValueError("no command")) is None
