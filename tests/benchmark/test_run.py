"""The harness with real child processes: the null engine, real crashes, and one real ONNX model."""

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from pipeline.benchmark.lanes import plan, usable_cores
from pipeline.benchmark.results import to_json, write_results
from pipeline.benchmark.run import Outcomes, run_benchmark
from pipeline.benchmark.subjects import Subject, read_subjects
from pipeline.benchmark.worker import Worker, WorkerError
from pipeline.commands.bench import bench
from pipeline.errors import InputError, IntegrityError
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.params.schema import BenchmarkParams

CASES = [{"name": "b1_l32", "batch": 1, "length": 32}, {"name": "b4_l16", "batch": 4, "length": 16}]
SHAPES = {"b1_l32": (1, 32), "b4_l16": (4, 16)}
PARAMS = BenchmarkParams(
    lane_cores=1, blocks=2, warmup_runs=2, block_seconds=0.02, max_block_runs=10, load_timeout_s=60
)
WORKS = "any nothing"


def null_subjects(folder: Path, behaviours: Mapping[str, str]) -> list[Subject]:
    """Variants of the null engine, named by the keys."""
    paths = {}
    for variant, behaviour in behaviours.items():
        paths[variant] = folder / f"{variant}.null"
        paths[variant].write_text(behaviour)
    return subjects("null", folder, paths)


def subjects(engine: str, folder: Path, paths: Mapping[str, Path]) -> list[Subject]:
    """Write variants.json and inputs.safetensors as the verify stage does, and read them back."""
    entries = []
    for variant, path in paths.items():
        files = {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
        entries.append({"engine": engine, "variant": variant, "path": path.name, "files": files})
    variants = folder / "variants.json"
    variants.write_text(json.dumps({"model": "m", "cases": CASES, "variants": entries}))
    arrays = {}
    for case, shape in SHAPES.items():
        arrays[f"{case}.input_ids"] = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape) % 50
        arrays[f"{case}.attention_mask"] = np.ones(shape, dtype=np.int32)
    save_file(arrays, folder / "inputs.safetensors")
    return read_subjects(variants, folder / "inputs.safetensors", folder)


def measure(found: list[Subject], params: BenchmarkParams = PARAMS) -> Outcomes:
    return run_benchmark(plan(found, usable_cores(), params.lane_cores), params)


def measured(outcomes: Outcomes, variant: str) -> set[tuple[str, bool]]:
    return {(m.case.name, m.all_cores) for m in outcomes.measurements if m.subject.variant == variant}


ALL_CASES = {(case, everything) for case in SHAPES for everything in (False, True)}


def test_null_variants_are_measured_in_every_case_with_one_thread_and_all_cores(tmp_path: Path) -> None:
    outcomes = measure(null_subjects(tmp_path, {"fp32": WORKS, "teacher": WORKS}))
    assert outcomes.failures == []
    assert measured(outcomes, "fp32") == ALL_CASES
    assert measured(outcomes, "teacher") == {("b1_l32", False)}
    for one in outcomes.measurements:
        assert len(one.blocks) == PARAMS.blocks
        assert all(0 < block.size <= PARAMS.max_block_runs for block in one.blocks)
        assert one.peak_memory_bytes > 1 << 20
        assert one.cores == tuple(usable_cores()) if one.all_cores else len(one.cores) == 1


def test_crashing_variants_fail_alone_and_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcomes = measure(
        null_subjects(
            tmp_path,
            {
                "early": "loading segfault",
                "late": "running segfault",
                "killed": "running kill",
                "raising": "loading raise",
                "fp32": WORKS,
            },
        )
    )
    failures = {failure.subject.variant: failure for failure in outcomes.failures}
    assert failures["early"].error == "killed by SIGSEGV while loading"
    assert failures["early"].signal == failures["late"].signal == "SIGSEGV"
    assert failures["late"].error == "killed by SIGSEGV while warming up b1_l32"
    assert failures["killed"].signal == "SIGKILL"
    assert failures["raising"].error == "failed while loading: RuntimeError: the null engine was told to raise"
    assert failures["raising"].signal is None
    assert set(failures) == {"early", "late", "killed", "raising"}
    assert measured(outcomes, "fp32") == ALL_CASES
    assert "m.null.early: killed by SIGSEGV while loading" in capfd.readouterr().err


def test_hanging_variant_is_killed_and_fails_alone(tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"load_timeout_s": 5.0})
    outcomes = measure(null_subjects(tmp_path, {"int8": "loading hang", "fp32": WORKS}), params)
    assert [failure.error for failure in outcomes.failures] == [
        "hung while loading: killed after 5 s (benchmark.load_timeout_s)"
    ]
    assert measured(outcomes, "fp32") == ALL_CASES


def test_child_killed_from_outside_while_idle_is_named(tmp_path: Path) -> None:
    [subject] = null_subjects(tmp_path, {"fp32": WORKS})
    job = {
        "engine": "null",
        "path": str(subject.path),
        "threads": 1,
        "cores": usable_cores(),
        "inputs": str(subject.inputs),
        "cases": ["b1_l32"],
        "warmup_runs": 1,
        "warmup_seconds": 0.1,
    }
    with Worker() as worker:
        worker.ask(job, "loading", 60)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="killed by SIGKILL while measuring") as caught:
            worker.ask({"measure": "b1_l32", "seconds": 0.1, "max_runs": 5}, "measuring", 60)
    assert caught.value.signal_name == "SIGKILL"


def test_changed_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    [subject] = null_subjects(tmp_path, {"fp32": WORKS})
    subject.path.write_text("any nothing ")
    with pytest.raises(IntegrityError, match=r"fp32\.null has SHA-256 .* was verified: it was changed"):
        read_subjects(tmp_path / "variants.json", tmp_path / "inputs.safetensors", tmp_path)
    subject.path.unlink()
    with pytest.raises(IntegrityError, match=r"fp32\.null is missing"):
        read_subjects(tmp_path / "variants.json", tmp_path / "inputs.safetensors", tmp_path)


def test_budget_case_becomes_the_reference(tmp_path: Path) -> None:
    null_subjects(tmp_path, {"teacher": WORKS, "int8": WORKS})
    variants = tmp_path / "variants.json"
    content = json.loads(variants.read_text()) | {"budget_case": {"batch": 4, "length": 16, "threads": 2}}
    variants.write_text(json.dumps(content))
    teacher, int8 = read_subjects(variants, tmp_path / "inputs.safetensors", tmp_path)
    assert [case.name for case in teacher.cases] == ["b4_l16"]
    assert teacher.threads == (2,)
    assert int8.threads == (1, "all", 2)
    assert int8.reference == teacher.cases[0]


def test_results_of_a_real_onnx_model(tmp_path: Path) -> None:
    path = tmp_path / "fp32.onnx"
    onnx.save(mean_embedding(), path)
    outcomes = measure(subjects("onnxruntime", tmp_path, {"fp32": path}))
    assert outcomes.failures == []
    layout = Layout(tmp_path)
    write_results(outcomes, {"cpu": "test"}, PARAMS, layout)
    results = read_json(layout.results)
    assert results == json.loads(json.dumps(to_json(outcomes, {"cpu": "test"}, PARAMS)))
    assert len(results["measurements"]) == 4
    for one in results["measurements"]:
        samples = np.load(layout.results.parent / one["samples"])
        assert samples.dtype == np.float64
        assert samples.shape == (one["runs"],) == (sum(one["block_runs"]),)
        assert one["latency_p95_ms"] == pytest.approx(np.percentile(samples, 95), abs=1e-6)
        assert 0 < one["latency_p50_ms"] <= one["latency_p90_ms"] <= one["latency_p99_ms"]
    metrics = read_json(layout.benchmark_metrics)["m"]["onnxruntime"]["fp32"]
    [headline] = [
        one for one in results["measurements"] if one["samples"] == "samples/m.onnxruntime.fp32.b1_l32.t1.npy"
    ]
    assert metrics["latency_p95_ms"] == headline["latency_p95_ms"]


def test_bench_command_measures_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.onnx"
    onnx.save(mean_embedding(vocabulary=2000), path)
    bench(path, blocks=2, seconds=0.02)
    shown = capsys.readouterr().out
    assert "b1_l32, 1 threads" in shown
    assert "p95" in shown
    with pytest.raises(InputError, match=r"absent\.onnx is missing"):
        bench(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match=r"no engine opens \.txt: \.onnx, \.xml, \.tflite"):
        (tmp_path / "model.txt").touch()
        bench(tmp_path / "model.txt")


def mean_embedding(vocabulary: int = 50) -> onnx.ModelProto:
    """Embedding of `vocabulary` x 8, masked and averaged; ids and mask int32 [batch, length]."""
    table = np.random.default_rng(0).standard_normal((vocabulary, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["embedded", "mask3"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "middle"], ["output"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    constants = {"table": table, "last": np.array([-1]), "middle": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "mean_embedding",
        inputs,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
