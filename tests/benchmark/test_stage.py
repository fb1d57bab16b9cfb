"""The host and benchmark stages on a workspace with one tiny variant."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from safetensors.numpy import save_file

from pipeline.benchmark.host import fingerprint
from pipeline.errors import StageError
from pipeline.files import read_json, write_json
from pipeline.layout import Engine, Layout, Variant
from pipeline.records.results import Results
from stages.benchmark import run
from tests.benchmark.entries import LATENCY, verification
from tests.benchmark.tiny_onnx import mean_embedding

PARAMS_YAML = Path(__file__).parents[2] / "params.yaml"
MODEL = "docs-embed"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    tree = yaml.safe_load(PARAMS_YAML.read_text(encoding="utf-8"))
    tree["fleet"] = {MODEL: tree["fleet"][MODEL]}
    tree["benchmark"] |= {"blocks": 2, "block_seconds": 0.02, "max_block_runs": 10}
    layout.params.write_text(yaml.safe_dump(tree), encoding="utf-8")
    model = layout.model(MODEL)
    model.fleet_entry.mkdir(parents=True)
    onnx.save(mean_embedding(), tmp_path / "int8.onnx")
    files = {(Engine.ONNXRUNTIME, Variant.INT8): "int8.onnx"}
    verification(tmp_path, files, model=MODEL, cases=(LATENCY,)).write(model.verification)
    ids = np.ones((1, 32), np.int32)
    save_file({"b1_l32.input_ids": ids, "b1_l32.attention_mask": ids}, model.fleet_inputs)
    write_json(layout.host, fingerprint())
    return layout


def test_stage_writes_results_samples_and_metrics(layout: Layout) -> None:
    layout.samples.mkdir(parents=True)
    (layout.samples / "stale.npy").touch()
    returned = run(layout.root)
    results = Results.read(layout.results)
    assert results == returned
    assert results.host == read_json(layout.host)
    assert results.settings["blocks"] == 2
    assert results.failures == ()
    names = [one.samples for one in results.measurements]
    assert names == [f"samples/{MODEL}.onnxruntime.int8.b1_l32.{threads}.npy" for threads in ("t1", "tall")]
    assert sorted(f"samples/{path.name}" for path in layout.samples.iterdir()) == names
    judged = results.judged(MODEL, Engine.ONNXRUNTIME, Variant.INT8)
    assert judged == results.measurements[0]
    metrics = read_json(layout.benchmark_metrics)[MODEL]["onnxruntime"]["int8"]
    assert metrics["latency_p95_ms"] == judged.latency_p95_ms


def test_stage_refuses_the_fingerprint_of_another_machine(layout: Layout) -> None:
    write_json(layout.host, fingerprint() | {"cpu": "another"})
    with pytest.raises(StageError, match=r"host\.json describes another machine \(cpu\): run `dvc repro host` here"):
        run(layout.root)
    assert not layout.results.exists()
