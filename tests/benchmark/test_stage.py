"""The host and benchmark stages on a workspace with one null variant."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from pipeline.benchmark.host import fingerprint
from pipeline.errors import StageError
from pipeline.files import read_json, write_json
from pipeline.layout import Layout
from stages.benchmark import run

PARAMS_YAML = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    tree = yaml.safe_load(PARAMS_YAML.read_text(encoding="utf-8"))
    tree["fleet"] = ["docs-embed"]
    tree["benchmark"] |= {"blocks": 2, "block_seconds": 0.02, "max_block_runs": 10}
    layout.params.write_text(yaml.safe_dump(tree), encoding="utf-8")
    model = layout.model("docs-embed")
    model.fleet_entry.mkdir(parents=True)
    (tmp_path / "model.null").write_text("any nothing")
    files = {"model.null": {"sha256": hashlib.sha256(b"any nothing").hexdigest()}}
    variants = [{"engine": "null", "variant": "int8", "path": "model.null", "files": files}]
    cases = [{"name": "b1_l32", "batch": 1, "length": 32}]
    write_json(model.fleet_variants, {"model": "docs-embed", "cases": cases, "variants": variants})
    save_file({"b1_l32.input_ids": np.ones((1, 32), np.int32)}, model.fleet_inputs)
    write_json(layout.host, fingerprint())
    return layout


def test_stage_writes_results_samples_and_metrics(layout: Layout) -> None:
    layout.samples.mkdir(parents=True)
    (layout.samples / "stale.npy").touch()
    run(layout.root)
    results = read_json(layout.results)
    assert results["host"] == read_json(layout.host)
    assert results["settings"]["blocks"] == 2
    assert results["failures"] == []
    names = [one["samples"] for one in results["measurements"]]
    assert names == [f"samples/docs-embed.null.int8.b1_l32.{threads}.npy" for threads in ("t1", "tall")]
    assert sorted(f"samples/{path.name}" for path in layout.samples.iterdir()) == names
    assert read_json(layout.benchmark_metrics)["docs-embed"]["null"]["int8"]["latency_p95_ms"] > 0


def test_stage_refuses_the_fingerprint_of_another_machine(layout: Layout) -> None:
    write_json(layout.host, fingerprint() | {"cpu": "another"})
    with pytest.raises(StageError, match=r"host\.json describes another machine \(cpu\): run `dvc repro host` here"):
        run(layout.root)
    assert not layout.results.exists()
