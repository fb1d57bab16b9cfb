"""The guides add a student and a task that work: each is followed in a temporary folder."""

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


def follow(page: str, root: Path) -> dict[str, Any]:
    """Write the files of a guide below `root`; return what it puts into params.yaml, by dotted key."""
    settings = {}
    for _, path, key, content in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        if path.rstrip(",") == "params.yaml":
            settings[key] = YAML(typ="safe", pure=True).load(content)
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
