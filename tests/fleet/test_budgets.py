"""The gate in the graph: what a changed budget runs, and what a missed one stops and leaves."""

import re
from dataclasses import dataclass

import pytest

from pipeline.files import read_json
from pipeline.params.file import load_params
from tests.fleet import workspace
from tests.fleet.workspace import MODEL, Done, Fleet

BUDGET = "budgets.onnxruntime.p95_ms"
IMPOSSIBLE_MS = 1e-6


@dataclass(frozen=True)
class Missed:
    """A fleet with a budget below what was measured, and the `dvc repro` that noticed."""

    fleet: Fleet
    repro: Done
    results: bytes


@pytest.fixture(scope="module")
def missed(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Missed:
    """Do not change it."""
    own = workspace.copy(fleet, tmp_path_factory.mktemp("missed") / "workspace")
    results = own.layout.results.read_bytes()
    own.set(BUDGET, IMPOSSIBLE_MS)
    return Missed(own, own.dvc("repro"), results)


def test_a_changed_budget_runs_only_gate_and_release(own: Fleet) -> None:
    own.set(BUDGET, 999)
    done = own.dvc("repro")
    assert done.code == 0, done.said
    assert done.ran == {"host", "gate", f"release@{MODEL}"}
    assert read_json(own.layout.verdict)["verdict"] == "PASS"


def test_a_missed_budget_ends_repro_with_number_margin_and_line(missed: Missed) -> None:
    line = load_params(missed.fleet.layout.params).line(f"models.{MODEL}.{BUDGET}")
    assert missed.repro.code != 0
    assert missed.repro.ran == {"host", "gate", f"release@{MODEL}"}
    where = re.escape(f"(params.yaml:{line}, models.{MODEL}.{BUDGET})")
    assert re.search(
        rf"onnxruntime (int8|fp32) p95 [\d.]+ ms > budget 1e-06 ms {where}.*; margin -[\d.]+ ms", missed.repro.said
    )


def test_a_missed_budget_leaves_verdict_and_results_but_no_release(missed: Missed) -> None:
    layout = missed.fleet.layout
    verdict = read_json(layout.verdict)
    assert verdict["verdict"] == verdict["models"][MODEL]["verdict"] == "FAIL"
    assert verdict["models"][MODEL]["chosen"]["onnxruntime"] is None
    assert layout.results.read_bytes() == missed.results
    assert not missed.fleet.paths.release.exists()


def test_a_missed_budget_is_exit_1_of_the_gate_and_no_wrong_input(missed: Missed) -> None:
    gate = missed.fleet.bardlet("gate")
    assert gate.code == 1
    assert BUDGET in gate.error
    assert missed.fleet.bardlet("validate").code == 0


def test_the_budget_put_back_restores_verdict_and_release(
    missed: Missed, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = workspace.copy(missed.fleet, tmp_path_factory.mktemp("restored") / "workspace")
    own.set(BUDGET, 1000)
    done = own.dvc("repro")
    assert done.code == 0, done.said
    assert read_json(own.layout.verdict) == read_json(fleet.layout.verdict)
    assert workspace.snapshot(own.paths.release) == workspace.snapshot(fleet.paths.release)
