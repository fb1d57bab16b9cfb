"""A tiny product of images, real from the data to the release, and what is wrong input for it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.files import read_json, sha256
from pipeline.layout import CALIBRATION, CONFIG, PREPROCESSING, REPORT, WEIGHTS, Engine
from pipeline.records.verification import Verification
from pipeline.runtime import Release
from tests.fleet import workspace
from tests.fleet.workspace import Fleet

MODEL = "digits-mobilenet"
# Small enough to build in a minute; budgets that nothing can miss.
TINY_IMAGES: dict[str, Any] = {
    "data": {"input_size": 16},
    "teacher": {
        "train": {
            "architecture": "conv_net", "options": {"width": 16, "layers": 3}, "epochs": 3, "batch_size": 32,
            "learning_rate": 0.004, "warmup_fraction": 0.1, "weight_decay": 0.01, "label_smoothing": 0,
        },
        "copies": 2,
    },
    "student": {"architecture": "conv_net", "options": {"width": 16, "layers": 3}},
    "distill": {"epochs": 2, "batch_size": 32},
    "prune": {"max_params": 10_000, "max_macs": 313_000, "epochs": 1},
    "quantize": {"epochs": 0.2, "calibration_images": 16},
    "export": {
        "batch": 2,
        "ladder": {
            "fp32": {"inference": "f32"},
            "int8": {"inference": "f32", "tolerance": 0.05, "max_float_layers": 2},
        },
    },
    "verify": {"examples": 16, "teacher_examples": 4},
    "budgets": {
        "params": "none",
        "macs": "none",
        "quality": {"accuracy_kept": 0.8, "int8_accuracy_drop": 0.1},
        **{engine.value: {"p95_ms": 1000, "size_bytes": 4_000_000, "memory_bytes": 4_000_000_000} for engine in Engine},
    },
}  # fmt: skip
# One process: each stage alone would import torch and the converters anew.
RUN = f"""
from pipeline.layout import Engine
from stages import benchmark, data, distill, export, gate, host, prune, quantize, release, teacher, verify
host.run()
for stage in (data, teacher, distill, prune, quantize):
    stage.run({MODEL!r})
for engine in Engine:
    export.run({MODEL!r}, engine.value)
verify.run({MODEL!r})
benchmark.run()
gate.run()
release.run({MODEL!r})
"""


def tiny(params: Any) -> None:
    """Make the shipped params.yaml that of a fleet of one tiny product."""
    params["fleet"] = {MODEL: "image_classification"}
    for other in [name for name in params["models"] if name != MODEL]:
        del params["models"][other]
    for block, values in TINY_IMAGES.items():
        params["models"][MODEL][block].update(values)
    params["benchmark"].update(workspace.BENCHMARK)


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A workspace in which every stage ran; do not change it."""
    root = tmp_path_factory.mktemp("vision")
    for folder in ("pipeline", "stages"):
        shutil.copytree(workspace.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "requirements.lock", "data/corpus.lock"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(workspace.ROOT / name, root / name)
    workspace.edit_params(root / "params.yaml", tiny)
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=root,
        env={**workspace.environment(), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Fleet(root)


def test_each_step_leaves_a_student_and_what_it_cost(vision: Fleet) -> None:
    paths = vision.layout.model(MODEL)
    reports = [read_json(folder / REPORT) for folder in (paths.student, paths.pruned, paths.quantized)]
    for report in reports:
        assert report["params"] > 0 and report["macs"] > 0 and report["seconds"] > 0
        assert report["quality"]["accuracy"] > 0.7
    assert reports[1]["params"] < reports[0]["params"]
    assert reports[1]["macs"] <= 313_000 <= reports[0]["macs"] / 2
    assert reports[1]["params"] <= 10_000
    assert {group["layers"][0] for group in reports[1]["sensitivity"]} == {f"features.{i}.0" for i in range(3)}
    assert {CONFIG, WEIGHTS, CALIBRATION, PREPROCESSING} <= {path.name for path in paths.quantized.iterdir()}


def test_every_variant_is_verified_measured_and_judged(vision: Fleet) -> None:
    verified = Verification.read(vision.layout.model(MODEL).verification)
    assert len(verified.variants) == 9
    assert all(one.verified for one in verified.variants), verified.variants
    reduced = [one.reduction for one in verified.variants if one.variant.is_reduced]
    assert {reduction.tolerance for reduction in reduced if reduction} == {0.05}
    assert len(reduced) == 3
    results = read_json(vision.layout.results)
    assert results["failures"] == []
    assert {one["case"] for one in results["measurements"]} == {"b1", "b2"}
    verdict = read_json(vision.layout.verdict)["models"][MODEL]
    assert verdict["verdict"] == "PASS"
    budgets = {check["budget"].removeprefix(f"models.{MODEL}.budgets.quality.") for check in verdict["checks"]}
    assert "accuracy_kept" in budgets
    metrics = read_json(vision.layout.benchmark_metrics)[MODEL]
    assert metrics["tflite"]["int8"]["latency_p95_ms"] > 0


@pytest.mark.parametrize("engine", list(Engine))
def test_the_release_classifies_on_every_engine(engine: Engine, vision: Fleet) -> None:
    from sklearn.datasets import load_digits

    release = Release.open(vision.layout.model(MODEL).release, engine.value, threads=1)
    digits = load_digits()
    pixels = [(image * 255 / 16).astype(np.uint8) for image in digits.images[:40]]
    given = [guesses[0].label for guesses in release.classify(pixels, top=1)]
    right = [label == str(digit) for label, digit in zip(given, digits.target[:40], strict=True)]
    assert sum(right) >= 30


def test_card_and_report_show_the_tasks_own_measures(vision: Fleet) -> None:
    card = (vision.layout.model(MODEL).release / "README.md").read_text(encoding="utf-8")
    assert "| Accuracy | Agreement |" in card
    assert "scikit-learn's UCI digits" in card and "{{" not in card
    done = vision.bardlet("report")
    assert done.code == 0, done.said
    page = vision.layout.report.read_text(encoding="utf-8")
    assert "How sensitive each layer is to pruning" in page
    assert "Layers that int8 keeps in float" in page
    assert "Accuracy kept" in page


def test_a_teacher_of_other_images_and_classes_is_refused_before_training(vision: Fleet, tmp_path: Path) -> None:
    own = workspace.copy(vision, tmp_path / "workspace")
    paths = own.layout.model(MODEL)
    before = workspace.snapshot(paths.teacher)
    shutil.copytree(paths.teacher / "checkpoint", own.root / "wrong")
    config = read_json(own.root / "wrong" / CONFIG) | {"height": 24, "width": 24}
    (own.root / "wrong" / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    classes = read_json(paths.data / "classes.json")
    classes["names"] = classes["names"][:7]
    (paths.data / "classes.json").write_text(json.dumps(classes), encoding="utf-8")

    def change(params: Any) -> None:
        pinned = {"sources": [{"path": "wrong"}], "sha256": sha256(own.root / "wrong" / WEIGHTS), "copies": 2}
        params["models"][MODEL]["teacher"] = pinned

    workspace.edit_params(own.root / "params.yaml", change)
    done = own.stage("teacher", MODEL)
    assert done.code == 2
    assert "the teacher is for images of 1x24x24, the data has 1x16x16" in done.error
    assert "the teacher knows 10 classes, the data has 7" in done.error
    assert workspace.snapshot(paths.teacher) == before
