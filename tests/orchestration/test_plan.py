import pytest

from pipeline.errors import InputError
from pipeline.orchestration.plan.stages import Plan, PlannedStage, lock_order, only_models, read_plan

STALE = ("a.py changed",)


def stage(name: str, *upstream: str, reasons: tuple[str, ...] = (), model: str | None = None) -> PlannedStage:
    return PlannedStage(name, upstream, reasons, model=model, lock="dvc.lock")


def test_cached_is_what_nothing_that_runs_can_change() -> None:
    plan = Plan((stage("a"), stage("b", reasons=STALE), stage("c", "a"), stage("d", "b"), stage("e", "d")))
    assert plan.cached() == ["a", "c"]


def test_new_entries_of_dvc_lock_come_behind_the_old_ones_in_serial_order() -> None:
    stages = [stage("a"), stage("b"), stage("c")]
    assert lock_order(stages, {"dvc.lock": ["gone", "c"]}) == {"dvc.lock": ("gone", "c", "a", "b")}


def test_entries_of_another_folder_are_known_by_their_own_name() -> None:
    other = PlannedStage("sub/dvc.yaml:x", (), lock="sub/dvc.lock")
    assert lock_order([other], {"sub/dvc.lock": []}) == {"sub/dvc.lock": ("x",)}


FLEET = Plan(
    (
        stage("data@a", model="a"),
        stage("data@b", model="b", reasons=STALE),
        stage("benchmark", "data@a", "data@b"),
        stage("release@a", "benchmark", model="a"),
        stage("host"),
    )
)


def test_other_models_are_left_out_with_what_needs_them() -> None:
    plan = only_models(FLEET, ["a"])
    assert [stage.name for stage in plan.stages] == ["data@a", "host"]
    assert plan.left_out == {
        "data@b": "of model b",
        "benchmark": "needs data@b",
        "release@a": "needs benchmark",
    }


def test_other_models_that_are_up_to_date_hold_nothing_back() -> None:
    plan = only_models(FLEET, ["b"])
    assert [stage.name for stage in plan.stages] == ["data@b", "benchmark", "host"]


def test_an_unknown_model_is_named_with_the_known() -> None:
    with pytest.raises(InputError, match="no stage builds c; the fleet has a, b"):
        only_models(FLEET, ["c"])


def test_mistakes_in_meta_of_all_stages_are_reported_together() -> None:
    entry = {"upstream": [], "reasons": [], "outs_clean": True, "model": None, "lock": None}
    stages = [{**entry, "name": name, "meta": {"core": 1}} for name in ("a", "b")]
    with pytest.raises(InputError, match=r"(?s)stages\.a\.meta\.core.*stages\.b\.meta\.core"):
        read_plan({"stages": stages, "locks": {}})
