"""The guides add a student, a task and an engine that work: each is followed in a temporary folder."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.files import read_json
from tests.fleet import workspace
from tests.fleet.test_vision import TINY_IMAGES

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(?:# |\{# )(\S+?)(?:,? (\S+?))?(?: #\})?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# One process: each stage alone would import torch anew.
RUN = """
from stages import data, distill, export, prune, quantize, teacher
for stage in (data, teacher, distill, prune, quantize):
    stage.run({model!r})
export.run({model!r}, "onnxruntime")
"""


# The line of a list behind which a guide's line belongs.
LAST_OF = {
    "Engine": '    TFLITE = "tflite"\n',
    "FACTS": '    Engine.TFLITE: EngineFacts("TensorFlow Lite", ".tflite", "ai-edge-litert"),\n',
}


def _add_line(file: Path, where: str, line: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(LAST_OF[where]) == 1
    file.write_text(text.replace(LAST_OF[where], LAST_OF[where] + line), encoding="utf-8")


def follow(page: str, root: Path) -> dict[str, Any]:
    """Write the files of a guide below `root`; return what it puts into params.yaml, by dotted key."""
    settings = {}
    for _, path, key, content in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        path = path.rstrip(",")
        if path == "params.yaml":
            settings[key] = YAML(typ="safe", pure=True).load(content)
        elif key in LAST_OF:
            _add_line(root / path, key, content)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8")
    return settings


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The library and the stages, as a user has them."""
    for folder in ("pipeline", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "data/corpus.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def build(root: Path, model: str) -> dict[str, Any]:
    """Validate and build `model` up to the export to one engine; the export's facts."""
    environment = {**workspace.environment(), "PYTHONPATH": str(root)}
    for command in ("import sys; from pipeline.cli import main; sys.exit(main(['validate']))", RUN.format(model=model)):
        done = subprocess.run(
            [sys.executable, "-c", command], cwd=root, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
    exported = read_json(root / f"artifacts/{model}/export/onnxruntime/export.json")
    assert set(exported["variants"]) == {"teacher", "fp32", "int8"}
    variants: dict[str, Any] = exported["variants"]
    return variants


def test_a_student_is_added_as_the_guide_says(checkout: Path) -> None:
    settings = follow("add-a-student.md", checkout)

    def add(params: Any) -> None:
        model = params["models"]["digits-mobilenet"]
        for block, values in TINY_IMAGES.items():
            model[block].update(values)
        model.update(settings["models.digits-patches"])
        params["models"]["digits-patches"] = model
        params["fleet"] = {"digits-patches": "image_classification"}

    workspace.edit_params(checkout / "params.yaml", add)
    build(checkout, "digits-patches")
    config = read_json(checkout / "artifacts/digits-patches/quantized/config.json")
    assert config["architecture"] == "patch_net"
    assert config["widths"] < [48, 96]


def test_a_task_is_added_as_the_guide_says(checkout: Path) -> None:
    settings = follow("add-a-task.md", checkout)

    def add(params: Any) -> None:
        params["models"]["iris"] = settings["models.iris"]
        params["fleet"] = {"iris": "table_classification"}

    workspace.edit_params(checkout / "params.yaml", add)
    variants = build(checkout, "iris")
    assert variants["int8"]["reduction"]["holds"]
    report = read_json(checkout / "artifacts/iris/quantized/report.json")
    assert report["quality"]["accuracy"] > 0.8
    assert report["params"] == 4 * 8 + 8 + 8 * 3 + 3


# Exports a small network and runs it on the engine; the names of both are the engine's alone.
USE_ENGINE = """
import numpy as np, torch
from pathlib import Path
from pipeline.engines.exporter import exporter
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.layout import SUFFIX, Engine, Variant
from pipeline.runtime.session import open_session
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 4))
image, scores = TensorSpec("image", "float32", ("batch", 3, 8, 8)), TensorSpec("scores", "float32", ("batch", 4))
spec, engine = ModelSpec((image,), scores, ({"batch": 1},)), Engine("pt2")
file, target = Path("fp32" + SUFFIX[engine]), exporter(engine)
target.export(model, spec, file, toolchain={})
session = open_session(engine, file, 1, target.precision_of(file, Variant.FP32, spec, "f32"))
for batch in (1, 5):
    images = np.random.default_rng(batch).random((batch, 3, 8, 8), np.float32)
    expected = model(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(session.run({"image": images}), expected, atol=1e-5)
"""
EXPORT = """
from stages import export, quantize, teacher, data, distill, prune
for stage in (data, teacher, distill, prune, quantize):
    stage.run("digits-mobilenet")
export.run("digits-mobilenet", "pt2")
"""


def test_an_engine_is_added_as_the_guide_says(checkout: Path) -> None:
    settings = follow("add-an-engine.md", checkout)

    def add(params: Any) -> None:
        params["toolchain"]["pt2"] = settings["toolchain.pt2"]
        for model in params["models"].values():
            model["budgets"]["pt2"] = settings["models.*.budgets.pt2"]
        for block, values in TINY_IMAGES.items():
            params["models"]["digits-mobilenet"][block].update(values)

    workspace.edit_params(checkout / "params.yaml", add)
    environment = {**workspace.environment(), "PYTHONPATH": str(checkout)}
    validate = "import sys; from pipeline.cli import main; sys.exit(main(['validate']))"
    for command in (validate, USE_ENGINE, EXPORT):
        done = subprocess.run(
            [sys.executable, "-c", command], cwd=checkout, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
    exported = read_json(checkout / "artifacts/digits-mobilenet/export/pt2/export.json")
    assert set(exported["variants"]) == {"teacher", "fp32"}
    assert exported["skipped"] == {"int8": "pt2 has no int8"}
