from pipeline.orchestration.plan import reasons


def test_a_changed_value_is_shown_with_its_path_before_and_after() -> None:
    old = {"epochs": 4, "rate": {"start": 0.1}}
    new = {"epochs": 6, "rate": {"start": 0.1}}
    assert reasons.changed_values("params.yaml", "distill", old, new) == ["params.yaml: distill.epochs 4 → 6"]


def test_values_that_come_and_go_are_named() -> None:
    changed = reasons.changed_values("params.yaml", "distill", {"a": 1}, {"b": [2]})
    assert changed == ["params.yaml: distill.a 1 → (nothing)", "params.yaml: distill.b (nothing) → [2]"]


def test_a_block_that_becomes_a_value_is_one_change() -> None:
    assert reasons.changed_values("p.yaml", "x", {"a": 1}, 3) == ["p.yaml: x {'a': 1} → 3"]


def test_long_values_are_cut() -> None:
    [text] = reasons.changed_values("p.yaml", "x", "a" * 100, "b")
    assert len(text) < 90
    assert "…" in text


def test_only_keys_that_dvc_calls_changed_are_looked_at() -> None:
    status = {"seed": "modified"}
    assert reasons.changed_params("p.yaml", status, {"seed": 1, "x": 1}, {"seed": 2, "x": 9}) == ["p.yaml: seed 1 → 2"]


def test_a_missing_parameter_file_is_said() -> None:
    assert reasons.changed_params("p.yaml", "deleted", {}, {}) == ["p.yaml is missing"]


def test_files_are_said_in_words() -> None:
    assert reasons.changed_path("a.py", "modified") == "a.py changed"
    assert reasons.changed_path("a.py", "deleted") == "a.py is missing"
    assert reasons.changed_path("out", "not in cache") == "out is not in the cache"
