"""The graph as DVC runs it: what each stage leaves, what runs again, and the commands of a DVC user."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from pipeline.files import read_json, sha256
from pipeline.layout import CALIBRATION, CONFIG, REPORT, SUFFIX, TOKENIZER, WEIGHTS, Engine, Variant
from pipeline.records.verification import Verification
from pipeline.runtime.release import Release
from tests.fleet import workspace
from tests.fleet.workspace import MODEL, Fleet

STAGES = {
    "host", f"data@{MODEL}", f"teacher@{MODEL}", f"distill@{MODEL}", f"prune@{MODEL}", f"quantize@{MODEL}",
    f"export-onnxruntime@{MODEL}", f"export-openvino@{MODEL}", f"export-tflite@{MODEL}", f"verify@{MODEL}",
    "benchmark", "gate", f"release@{MODEL}",
}  # fmt: skip
# Its output is compared instead: another machine must be noticed.
ALWAYS = {"host"}
TRAINED = {f"{step}@{MODEL}" for step in ("distill", "prune", "quantize")}
VARIANTS = (Variant.TEACHER, Variant.FP32, Variant.INT8)


def every_variant() -> Iterator[tuple[Engine, Variant]]:
    return ((engine, variant) for engine in Engine for variant in VARIANTS)


def test_every_training_stage_leaves_a_student_and_what_it_cost(fleet: Fleet) -> None:
    paths = fleet.paths
    for folder in (paths.student, paths.pruned, paths.quantized):
        assert {CONFIG, WEIGHTS, TOKENIZER, REPORT} <= {path.name for path in folder.iterdir()}
        report = read_json(folder / REPORT)
        assert report["size_bytes"] == (folder / WEIGHTS).stat().st_size
        assert report["params"] > 0 and report["macs"] > 0 and report["seconds"] > 0
        assert {"fidelity_spearman", "recall_at_1", "recall_at_10"} <= set(report["quality"])
    calibration = load_file(paths.quantized / CALIBRATION)
    assert {name: array.shape for name, array in calibration.items()} == dict.fromkeys(
        ("input_ids", "attention_mask"), (16, 48)
    )


def test_pruning_shrinks_the_model_and_says_by_how_much(fleet: Fleet) -> None:
    before, after = (read_json(folder / REPORT) for folder in (fleet.paths.student, fleet.paths.pruned))
    for measure in ("params", "macs", "size_bytes"):
        assert after[measure] < before[measure]
        gain = after["gains"][measure]
        assert (gain["before"], gain["after"]) == (before[measure], after[measure])
    assert "torch_latency_p50_ms" in after["gains"]


def test_the_splits_share_no_group(fleet: Fleet) -> None:
    groups = read_json(fleet.paths.data / REPORT)["groups"]
    names = [name for split in groups.values() for name in split]
    assert sorted(names) == [f"part{index}.txt" for index in range(workspace.TEXT_FILES)]


def test_every_engine_has_every_variant_with_its_checksum(fleet: Fleet) -> None:
    for engine in Engine:
        manifest = read_json(fleet.paths.export_manifest(engine))
        assert tuple(manifest["variants"]) == VARIANTS
        for name, variant in manifest["variants"].items():
            assert variant["path"] == f"artifacts/{MODEL}/export/{engine}/{name}{SUFFIX[engine]}"
            for file, facts in variant["files"].items():
                assert facts["sha256"] == sha256(fleet.paths.export(engine) / file)


def test_every_variant_is_verified_and_measured_with_its_raw_samples(fleet: Fleet) -> None:
    verified = Verification.read(fleet.paths.verification)
    assert {(one.engine, one.variant) for one in verified.variants} == set(every_variant())
    assert all(one.verified for one in verified.variants), verified.variants
    results = read_json(fleet.layout.results)
    assert results["failures"] == []
    cases = {(m["engine"], m["variant"], m["case"]) for m in results["measurements"]}
    assert {(engine, variant, "b1_l32") for engine, variant in every_variant()} <= cases
    assert {case for _, variant, case in cases if variant == "int8"} == {"b1_l16", "b1_l32", "b2_l32"}
    for measurement in results["measurements"]:
        assert (fleet.layout.results.parent / measurement["samples"]).is_file()


@pytest.mark.parametrize("engine", list(Engine))
def test_the_release_opens_on_every_engine(engine: Engine, fleet: Fleet) -> None:
    rows = Release.open(fleet.paths.release, engine.value, threads=1).encode(["Fit a spline to data.", "a"])
    assert rows.shape == (2, 32)
    assert abs((rows**2).sum(axis=1) - 1).max() < 1e-3


def test_a_tampered_release_is_refused(own: Fleet) -> None:
    path = own.paths.release / TOKENIZER
    path.write_bytes(path.read_bytes() + b" ")
    done = own.bardlet("run", str(own.paths.release), "a text")
    assert (done.code, done.out) == (4, "")
    assert "tokenizer.json" in done.error and "fetch the release again" in done.error


def test_a_second_repro_runs_nothing_but_the_probe_of_the_host(own: Fleet) -> None:
    lock = (own.root / "dvc.lock").read_bytes()
    done = own.dvc("repro")
    assert (done.code, done.ran) == (0, ALWAYS)
    assert (own.root / "dvc.lock").read_bytes() == lock


@pytest.mark.parametrize(
    ("module", "reruns"),
    [
        ("pipeline/tasks/sentence_embedding/data.py", {f"data@{MODEL}"}),
        ("pipeline/tasks/sentence_embedding/teacher.py", {f"teacher@{MODEL}"}),
        (
            "pipeline/tasks/sentence_embedding/training.py",
            TRAINED,
        ),
        ("pipeline/tasks/image_classification/training.py", set()),
        ("pipeline/gate/checks.py", {"gate"}),
        ("pipeline/engines/tflite/export.py", {f"export-tflite@{MODEL}"}),
        ("pipeline/benchmark/measure.py", {"benchmark"}),
        ("pipeline/orchestration/plan/schedule.py", set()),
    ],
)
def test_an_edited_module_reruns_the_stages_of_its_own_room_alone(module: str, reruns: set[str], own: Fleet) -> None:
    with (own.root / module).open("a", encoding="utf-8") as stream:
        stream.write("# edited\n")
    done = own.dvc("status", "--json")
    assert done.code == 0, done.said
    assert set(json.loads(done.out)) - ALWAYS == reruns


def test_the_graph_names_every_stage(fleet: Fleet) -> None:
    done = fleet.dvc("dag", "--dot")
    assert done.code == 0
    assert {stage for stage in STAGES if f'"{stage}"' in done.out} == STAGES


def test_metrics_show_has_latency_and_quality(fleet: Fleet) -> None:
    done = fleet.dvc("metrics", "show", "--json")
    assert done.code == 0, done.error
    files = json.loads(done.out)[""]["data"]
    latency = files["artifacts/benchmark/metrics.json"]["data"][MODEL]["tflite"]["int8"]
    assert latency["latency_p95_ms"] > 0
    verified = files[f"artifacts/{MODEL}/metrics.json"]["data"]["openvino"]["fp32"]
    assert {"size_bytes", "fidelity_spearman", "recall_at_1", "recall_at_10"} <= set(verified)


def test_plots_show_draws_the_loss_of_every_training_step(fleet: Fleet, tmp_path: Path) -> None:
    done = fleet.dvc("plots", "show", "--out", str(tmp_path))
    assert done.code == 0, done.said
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for step in ("distill", "prune", "quantize"):
        assert f"Loss of {step}" in page


def test_params_diff_names_what_was_edited(own: Fleet) -> None:
    own.set("distill.learning_rate", 0.25)
    done = own.dvc("params", "diff", "--json")
    assert done.code == 0, done.error
    (changed,) = json.loads(done.out)["params.yaml"].items()
    assert (changed[0], changed[1]["new"]) == (f"models.{MODEL}.distill.learning_rate", 0.25)


def test_an_experiment_changes_a_parameter_and_trains_with_it(own: Fleet) -> None:
    steps = read_json(own.paths.student / REPORT)["training"]["steps"]
    done = own.dvc("exp", "run", "-S", f"models.{MODEL}.distill.epochs=2", f"distill@{MODEL}")
    assert done.code == 0, done.said
    assert done.ran == {f"distill@{MODEL}"}
    assert read_json(own.paths.student / REPORT)["training"]["steps"] == 2 * steps


def test_the_same_model_is_exported_to_the_same_bytes(own: Fleet) -> None:
    folder = own.paths.export(Engine.ONNXRUNTIME)
    before = workspace.snapshot(folder)
    done = own.stage("export", MODEL, "onnxruntime")
    assert done.code == 0, done.said
    assert workspace.snapshot(folder) == before


class _Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href")]


def test_the_report_is_one_page_that_loads_nothing(own: Fleet, tmp_path: Path) -> None:
    done = own.bardlet("report")
    assert done.code == 0, done.said
    page = own.layout.report.read_text(encoding="utf-8")
    outside = _Outside()
    outside.feed(page)
    assert [link for link in outside.found if "=#" not in link and "=data:" not in link] == []
    assert MODEL in page and "PASS" in page
    assert [path.name for path in own.layout.report.parent.iterdir()] == ["index.html"]
