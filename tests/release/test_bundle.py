"""The release stage on a tiny workspace with real engines."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.errors import BudgetError, InconclusiveError, InputError, IntegrityError, StageError
from pipeline.files import read_json, sha256
from pipeline.layout import Engine, Layout, Variant
from pipeline.release.golden import TEXTS
from pipeline.runtime import Release
from pipeline.runtime.golden import check_golden
from stages import release as stage
from tests.release.workspace import MODEL, describe
from tests.report import made_up
from tests.runtime import tiny


def test_the_bundle_holds_the_chosen_variants_and_their_checksums(released: Path) -> None:
    manifest = read_json(released / "manifest.json")
    files = {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    assert files == {
        "README.md", "golden.json", "manifest.json", "tokenizer.json", "onnxruntime/int8.onnx",
        "openvino/fp32.xml", "openvino/fp32.bin", "tflite/int8.tflite",
    }  # fmt: skip
    assert set(manifest["files"]) == files - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": sha256(released / name), "size_bytes": (released / name).stat().st_size}
    assert (manifest["verb"], manifest["dim"], manifest["max_tokens"]) == ("encode", tiny.DIM, 128)
    precision = {"weights": "fp32", "activations": "fp32", "inference": "f32", "cache": "none"}
    assert {engine: entry["precision"] for engine, entry in manifest["engines"].items()} == dict.fromkeys(
        ("onnxruntime", "openvino", "tflite"), precision
    )
    assert manifest["engines"]["openvino"]["files"] == ["openvino/fp32.bin", "openvino/fp32.xml"]


def test_the_manifest_says_what_it_was_made_from(released: Path) -> None:
    root = released.parents[2]
    made_from = read_json(released / "manifest.json")["made_from"]
    assert made_from.pop("teacher").startswith("53aa51172d")
    assert set(made_from) == {
        "data/docs-embed/heldout.jsonl", "data/docs-embed/retrieval.jsonl", "data/docs-embed/train.jsonl",
        "artifacts/docs-embed/student/model.safetensors", "artifacts/docs-embed/pruned/model.safetensors",
        "artifacts/docs-embed/quantized/model.safetensors", "requirements.lock",
        "artifacts/fleet/docs-embed/verify.json", "artifacts/gate/models/docs-embed.json",
    }  # fmt: skip
    assert all(digest == sha256(root / name) for name, digest in made_from.items())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "tflite"])
def test_every_engine_repeats_the_golden_outputs(engine: str, released: Path) -> None:
    release = Release.open(released, engine, threads=1)
    assert check_golden(release) == []
    golden = read_json(released / "golden.json")
    expected = np.array(golden["engines"][engine]["outputs"])
    np.testing.assert_allclose(release.encode(golden["texts"]), expected, atol=1e-5)
    assert max(map(len, golden["token_ids"])) == 128


def test_a_device_notices_outputs_that_differ(released: Path) -> None:
    release, other = Release.open(released, "onnxruntime"), Release.open(released, "openvino")
    release.product.encode = lambda texts, **_: np.roll(other.encode(texts), 1)  # type: ignore
    problems = check_golden(release)
    assert len(problems) == len(TEXTS)
    assert "away from the recorded embedding, allowed 0.1" in problems[0]


def test_two_releases_of_the_same_inputs_are_the_same(own: Layout, released: Path) -> None:
    again = stage.run(MODEL, own.root)
    assert (again / "manifest.json").read_bytes() == (released / "manifest.json").read_bytes()


def test_a_missed_budget_gives_number_margin_and_line_and_replaces_nothing(own: Layout) -> None:
    old = own.model(MODEL).release
    old.mkdir()
    (old / "manifest.json").write_text("the release before")
    made_up.write(own.model(MODEL).verdict, made_up.verdict_of("FAIL"))
    with pytest.raises(BudgetError) as caught:
        stage.run(MODEL, own.root)
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert "docs-embed is not released, 1 of its budgets missed:" in message
    assert "0.377 ms > budget 0.2 ms (params.yaml:109, models.docs-embed.budgets.onnxruntime.p95_ms)" in message
    assert "margin -0.177 ms, -88.5%" in message
    assert [path.name for path in old.parent.glob("*release*")] == ["release"]
    assert (old / "manifest.json").read_text() == "the release before"


def test_an_inconclusive_verdict_releases_nothing(own: Layout) -> None:
    made_up.write(own.model(MODEL).verdict, made_up.verdict_of("INCONCLUSIVE"))
    with pytest.raises(InconclusiveError, match="Measure again") as caught:
        stage.run(MODEL, own.root)
    assert caught.value.exit_code == 3
    assert not own.model(MODEL).release.exists()


def test_an_export_that_was_not_the_measured_one_is_refused(own: Layout) -> None:
    (own.root / "artifacts/docs-embed/export/tflite/int8.tflite").write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"int8\.tflite has SHA-256 [0-9a-f]{64}, but [0-9a-f]{64} was verified"):
        stage.run(MODEL, own.root)
    assert not own.model(MODEL).release.exists()


def test_engines_that_contradict_each_other_are_refused(own: Layout) -> None:
    path = own.root / "artifacts/docs-embed/export/tflite/int8.tflite"
    tiny.write_model("tflite", path, tiny.word_vectors(seed=1), shapes=((1, 128),))
    describe(own, Engine.TFLITE, Variant.INT8, path)
    with pytest.raises(StageError, match=r"onnxruntime and tflite: mean cosine -?0\.\d+ < 0\.8818"):
        stage.run(MODEL, own.root)


def test_missing_sources_are_named_together(own: Layout) -> None:
    (own.root / "requirements.lock").unlink()
    (own.model(MODEL).pruned / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"pruned/model\.safetensors, .*requirements\.lock: run `dvc repro`"):
        stage.run(MODEL, own.root)


def test_an_unknown_model_is_named(own: Layout) -> None:
    with pytest.raises(InputError, match="no model 'nothing': choose one of docs-embed"):
        stage.run("nothing", own.root)
    made_up.verdict_of("PASS").model_copy(update={"models": {}}).write(own.model(MODEL).verdict)
    with pytest.raises(IntegrityError, match="says nothing about docs-embed"):
        stage.run(MODEL, own.root)


def test_the_card_has_front_matter_and_the_measured_numbers(released: Path) -> None:
    _, front, body = (released / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    front_matter = yaml.safe_load(front)
    assert front_matter["license"] == "apache-2.0"
    assert front_matter["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    metrics = front_matter["model-index"][0]["results"][0]["metrics"]
    assert {"type": "fidelity_spearman", "value": 0.757, "name": "fidelity_spearman (ONNX Runtime int8)"} in metrics
    results = json.loads((released.parents[2] / "artifacts/benchmark/results.json").read_text())
    (int8,) = [m for m in results["measurements"] if (m["engine"], m["variant"]) == ("onnxruntime", "int8")]
    assert f"| 2.93 MB | {int8['latency_p50_ms']:.3f} ms | {int8['latency_p95_ms']:.3f} ms | 8 ms | 0.757 |" in body
    assert "| *teacher*, ONNX Runtime fp32 | not shipped | 90.90 MB |" in body
    assert "Intel(R) Xeon(R) Processor @ 2.80GHz, 2 logical cores" in body
    assert "train texts: 7; heldout texts: 3." in body
    assert "openvino int8 DOES NOT PAY" in body
    assert "{{" not in body
