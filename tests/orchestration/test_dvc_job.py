"""Builds of small graphs by real DVC, without Prefect."""

import json
import os
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from pipeline.errors import InputError, StageError
from pipeline.orchestration.plan.schedule import StageOutcome
from tests.orchestration import graphs

CHAIN = {"a": (), "b": ("a",), "c": ("b",), "x": ()}


def outcomes(results: dict[str, object]) -> dict[str, str]:
    return {name: result.outcome for name, result in results.items()}  # type: ignore[attr-defined]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    root = graphs.write(tmp_path / "workspace", CHAIN)
    results, _ = graphs.build(root)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    return root


def test_a_second_build_runs_nothing(chain: Path) -> None:
    results, told = graphs.build(chain)
    assert set(outcomes(results).values()) == {StageOutcome.CACHED}
    assert told == []


def test_dvc_agrees_that_everything_is_built(chain: Path) -> None:
    before = (chain / "dvc.lock").read_bytes()
    graphs.repro(chain)
    assert (chain / "dvc.lock").read_bytes() == before


def test_a_changed_parameter_is_the_reason_and_what_follows_runs(chain: Path) -> None:
    params = (chain / "params.yaml").read_text()
    (chain / "params.yaml").write_text(params.replace("a: {epochs: 4}", "a: {epochs: 6}"))
    results, told = graphs.build(chain)
    assert outcomes(results) == {"a": "built", "b": "built", "c": "built", "x": "cached"}
    assert results["a"].reasons == ("params.yaml: a.epochs 4 → 6",)
    assert results["b"].reasons == ("a.txt changed",)
    assert "[a] runs: params.yaml: a.epochs 4 → 6" in told


def test_the_old_value_comes_back_from_the_run_cache(chain: Path) -> None:
    for epochs in (6, 4):
        params = (chain / "params.yaml").read_text()
        (chain / "params.yaml").write_text(params.replace(params.splitlines()[0], f"a: {{epochs: {epochs}}}"))
        results, _ = graphs.build(chain, ["a"])
    assert outcomes(results) == {"a": "restored"}


def test_a_missing_output_is_the_reason_and_its_return_changes_nothing_else(chain: Path) -> None:
    (chain / "a.txt").unlink()
    results, _ = graphs.build(chain)
    assert results["a"].reasons == ("a.txt is missing",)
    assert outcomes(results) == {"a": "restored", "b": "cached", "c": "cached", "x": "cached"}


def test_a_changed_command_is_the_reason(chain: Path) -> None:
    (chain / "dvc.yaml").write_text((chain / "dvc.yaml").read_text().replace("echo x", "echo y"))
    results, _ = graphs.build(chain)
    [reason] = results["x"].reasons
    assert reason.startswith("command: (echo x")
    assert " → (echo y" in reason


def test_force_runs_what_is_up_to_date(chain: Path) -> None:
    results, _ = graphs.build(chain, ["b"], force=True)
    assert outcomes(results) == {"a": "built", "b": "built"}
    assert results["a"].reasons == ("--force",)


def test_a_target_builds_what_it_needs_and_no_more(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "workspace", CHAIN)
    assert set(graphs.build(root, ["b"])[0]) == {"a", "b"}


def test_a_misspelt_target_is_suggested(chain: Path) -> None:
    with pytest.raises(InputError, match=r"no stage 'bb' in dvc\.yaml; did you mean 'b'\?"):
        graphs.build(chain, ["bb"])


def test_a_dvc_yaml_that_dvc_refuses_is_wrong_input(chain: Path) -> None:
    (chain / "dvc.yaml").write_text("stages:\n  a:\n    command: x\n")
    with pytest.raises(InputError, match=r"dvc\.yaml"):
        graphs.build(chain)


def test_always_changed_stages_run_and_the_same_output_holds_nothing_up(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "workspace", {"host": (), "benchmark": ("host",)})
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(text.replace("  host:\n", "  host:\n    always_changed: true\n"))
    graphs.build(root)
    results, _ = graphs.build(root)
    assert results["host"].reasons == ("always runs",)
    assert outcomes(results) == {"host": "built", "benchmark": "cached"}


def test_a_failure_has_the_code_of_its_process_and_other_branches_go_on(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "workspace", CHAIN, {"b": "exit 3"})
    results, told = graphs.build(root)
    assert outcomes(results) == {"a": "built", "b": "failed", "c": "skipped", "x": "built"}
    assert results["b"].exit_code == 3
    assert "failed to run: exit 3, exited with 3" in results["b"].message
    assert any(line.startswith("[b] failed: ") for line in told)


def test_a_stage_that_leaves_no_output_fails(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "workspace", {"a": ()}, {"a": "echo nothing"})
    results, _ = graphs.build(root)
    assert (results["a"].outcome, results["a"].exit_code) == ("failed", 5)
    assert "a.txt" in results["a"].message


def test_what_a_stage_prints_is_told_with_its_name(tmp_path: Path) -> None:
    command = "printf 'one\\n10%%\\r20%%\\rtwo' && echo three >&2 && touch a.txt"
    root = graphs.write(tmp_path / "workspace", {"a": ()}, {"a": command})
    _, told = graphs.build(root)
    assert "[a] one" in told
    assert "[a] twothree" in told


def test_the_time_limit_ends_all_processes_of_a_stage(tmp_path: Path) -> None:
    command = f"({graphs.command('b', ())}); (setsid sleep 4321 &); sleep 4321"
    root = graphs.write(tmp_path / "workspace", {"a": (), "b": ()}, {"a": command}, meta="{time_limit_s: 1.5}")
    results, _ = graphs.build(root)
    assert results["a"].outcome is StageOutcome.FAILED
    assert "ended after its time limit of 1.5 s (dvc.yaml, meta.time_limit_s of a)" in results["a"].message
    assert results["b"].outcome is StageOutcome.BUILT
    assert not [process for process in psutil.process_iter(["cmdline"]) if "4321" in (process.info["cmdline"] or [])]


def test_what_a_stage_leaves_running_is_ended(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "workspace", {"a": ()}, {"a": "touch a.txt; (setsid sleep 4322 &)"})
    results, _ = graphs.build(root)
    assert results["a"].outcome is StageOutcome.BUILT
    assert not [process for process in psutil.process_iter(["cmdline"]) if "4322" in (process.info["cmdline"] or [])]


def test_a_long_command_with_several_lines_leaves_the_same_dvc_lock(tmp_path: Path) -> None:
    text = "'" + " ".join(f"word{index}: it''s #{index}" for index in range(40)) + "'"
    graph = {"z": (), "a": ("z",)}
    for folder in ("serial", "parallel"):
        root = graphs.write(tmp_path / folder, graph)
        dvc = (root / "dvc.yaml").read_text()
        dvc += f"  long:\n    cmd: |\n      echo {text} > long.txt\n      echo é >> long.txt\n    outs: [long.txt]\n"
        (root / "dvc.yaml").write_text(dvc)
    graphs.repro(tmp_path / "serial")
    graphs.build(tmp_path / "parallel")
    assert (tmp_path / "parallel/dvc.lock").read_bytes() == (tmp_path / "serial/dvc.lock").read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_dvc_lock_is_that_of_a_serial_build(seed: int, tmp_path: Path) -> None:
    graph = graphs.random_graph(seed, most=12)
    serial, parallel = (graphs.write(tmp_path / name, graph) for name in ("serial", "parallel"))
    graphs.repro(serial)
    graphs.build(parallel)
    assert (parallel / "dvc.lock").read_bytes() == (serial / "dvc.lock").read_bytes()


def test_a_failed_build_that_is_continued_leaves_the_dvc_lock_of_one_without_a_break(tmp_path: Path) -> None:
    graph = {"a": (), "b": ("a",), "c": (), "d": ("c",)}
    serial = graphs.write(tmp_path / "serial", graph)
    broken = "test -e repaired && " + graphs.command("a", ())
    parallel = graphs.write(tmp_path / "parallel", graph, {"a": broken})
    (serial / "dvc.yaml").write_text((parallel / "dvc.yaml").read_text())
    (serial / "repaired").touch()
    graphs.repro(serial)
    assert outcomes(graphs.build(parallel)[0])["d"] == "built"
    (parallel / "repaired").touch()
    assert outcomes(graphs.build(parallel)[0]) == {"a": "built", "b": "built", "c": "cached", "d": "cached"}
    assert (parallel / "dvc.lock").read_bytes() == (serial / "dvc.lock").read_bytes()


def write_stages(root: Path, stages: object, fleet: object) -> Path:
    graphs.write(root, {})
    with (root / "dvc.yaml").open("w") as stream:
        YAML().dump({"stages": stages}, stream)
    with (root / "params.yaml").open("w") as stream:
        YAML().dump({"fleet": fleet}, stream)
    return root


FLEET_STAGES = {
    "distill": {
        "foreach": "${fleet}",
        "do": {"cmd": "echo ${key} ${item} > ${key}", "outs": ["${key}"]},
    },
    "export": {
        "matrix": {"model": "${fleet}", "engine": ["x", "y"]},
        "cmd": "cp ${item.model} ${item.model}-${item.engine}",
        "deps": ["${item.model}"],
        "outs": ["${item.model}-${item.engine}"],
    },
    "gate": {"cmd": "touch gate", "deps": ["a-x", "a-b-x"], "outs": ["gate"]},
}


def test_models_of_a_fleet_that_is_a_mapping_are_built_alone(tmp_path: Path) -> None:
    root = write_stages(tmp_path / "workspace", FLEET_STAGES, {"a": "texts", "a-b": "images"})
    assert set(graphs.build(root, models=["a"])[0]) == {"distill@a", "export@a-x", "export@a-y"}
    assert (root / "a").read_text() == "a texts\n"
    assert set(graphs.build(root, models=["a-b"])[0]) == {"distill@a-b", "export@a-b-x", "export@a-b-y", "gate"}
    with pytest.raises(InputError, match=r"no stage builds c; the fleet has a, a-b"):
        graphs.build(root, models=["c"])


def test_a_foreach_over_a_list_belongs_to_no_model(tmp_path: Path) -> None:
    stages = {"s": {"foreach": ["a", "b"], "do": {"cmd": "touch ${item}", "outs": ["${item}"]}}}
    root = write_stages(tmp_path / "workspace", stages, [])
    with pytest.raises(InputError, match=r"no stage builds a; the fleet has none"):
        graphs.build(root, models=["a"])


def test_models_of_a_matrix_are_built_alone(tmp_path: Path) -> None:
    stages = {
        "export": {
            "matrix": {"model": ["a", "a-b"], "engine": ["x", "y"]},
            "cmd": "touch ${item.model}-${item.engine}",
            "outs": ["${item.model}-${item.engine}"],
        },
        "gate": {"cmd": "touch gate", "deps": ["a-x", "a-b-x"], "outs": ["gate"]},
    }
    root = write_stages(tmp_path / "workspace", stages, [])
    assert set(graphs.build(root, models=["a"])[0]) == {"export@a-x", "export@a-y"}
    assert set(graphs.build(root, models=["a-b"])[0]) == {"export@a-b-x", "export@a-b-y", "gate"}


def test_a_list_of_busy_paths_that_a_killed_process_left_torn_is_healed(chain: Path) -> None:
    (chain / ".dvc/tmp/rwlock").write_text('{"read": {')
    results, _ = graphs.build(chain)
    assert set(outcomes(results).values()) == {StageOutcome.CACHED}


def test_an_entry_of_the_run_cache_that_a_killed_process_left_empty_is_healed(chain: Path) -> None:
    for entry in (chain / ".dvc/cache/runs").glob("*/*/*"):
        entry.unlink()
    (chain / "dvc.lock").unlink()
    results, _ = graphs.build(chain)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}


def test_what_nobody_foresaw_is_one_line_with_the_next_step(chain: Path) -> None:
    # A folder in the place of the file that DVC writes its list of busy paths to.
    (chain / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    (chain / ".dvc/tmp/rwlock").mkdir()
    (chain / "params.yaml").write_text((chain / "params.yaml").read_text().replace("4", "6"))
    with pytest.raises(StageError, match=r"^unexpected IsADirectoryError: .* \(`dvc status -v` shows where\)$"):
        graphs.build(chain)


def test_paths_that_another_dvc_works_on_are_waited_for(chain: Path) -> None:
    (chain / "a.txt").unlink()
    busy = {"pid": os.getppid(), "cmd": "dvc repro"}
    lock = chain / ".dvc/tmp/rwlock"
    lock.write_text(json.dumps({"write": {str(chain / "a.txt"): busy}, "read": {}}))

    def free(line: str) -> None:
        if "a.txt" in line and "waiting for" in line:
            lock.write_text("{}")

    told: list[str] = []
    begin = time.monotonic()
    while not told and time.monotonic() - begin < 60:
        results, told = graphs.build(chain, tell=free)
    assert results["a"].outcome is StageOutcome.RESTORED
    assert any("waiting for" in line and "dvc repro" in line for line in told)
