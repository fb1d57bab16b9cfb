"""The harness with real child processes: the null engine, real crashes, and real ONNX models."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from pipeline.benchmark.lanes import plan, usable_cores
from pipeline.benchmark.results import record, write_results
from pipeline.benchmark.run import BenchmarkRun, run_benchmark
from pipeline.benchmark.subjects import Budgeted, Subject, read_subjects
from pipeline.benchmark.worker import Worker, WorkerError
from pipeline.commands.bench import bench
from pipeline.errors import InputError, IntegrityError
from pipeline.files import read_json
from pipeline.layout import Engine, Layout, Variant
from pipeline.params.schema import BenchmarkParams
from pipeline.records import export
from pipeline.records.results import Results
from pipeline.records.verification import CaseEntry, JudgedCase, StepSummary
from pipeline.runtime.session import Precision
from tests.benchmark.entries import LATENCY, THROUGHPUT, verification
from tests.benchmark.tiny_onnx import mean_embedding, running_sum

SHAPES = {"b1_l32": (1, 32), "b4_l16": (4, 16)}
PARAMS = BenchmarkParams(
    lane_cores=1, blocks=2, warmup_runs=2, block_seconds=0.02, max_block_runs=10, load_timeout_s=60
)
WORKS = "any nothing"


def null_subjects(folder: Path, behaviours: Mapping[str, str]) -> list[Subject]:
    """Variants of the null engine, named by the keys; a teacher has the judged case alone."""
    inputs = write_inputs(folder)
    made = []
    for variant, behaviour in behaviours.items():
        path = folder / f"{variant}.null"
        path.write_text(behaviour)
        is_teacher = variant == Variant.TEACHER
        made.append(
            Subject(
                model="m",
                engine="null",
                variant=variant,
                path=path,
                inputs=inputs,
                precision=Precision(),
                cases=(LATENCY,) if is_teacher else (LATENCY, THROUGHPUT),
                budgeted=(Budgeted("", LATENCY.name, 1),),
                threads=(1,) if is_teacher else (1, "all"),
            )
        )
    return made


def write_inputs(folder: Path) -> Path:
    """inputs.safetensors of both cases."""
    arrays = {}
    for case, shape in SHAPES.items():
        arrays[f"{case}.input_ids"] = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape) % 50
        arrays[f"{case}.attention_mask"] = np.ones(shape, dtype=np.int32)
    save_file(arrays, folder / "inputs.safetensors")
    return folder / "inputs.safetensors"


def onnx_subjects(
    folder: Path, model: onnx.ModelProto, *variants: Variant, judged: Mapping[str, JudgedCase] | None = None
) -> list[Subject]:
    """Variants of ONNX Runtime, all the same file, through verify.json and inputs.safetensors."""
    onnx.save(model, folder / "model.onnx")
    files = {(Engine.ONNXRUNTIME, variant): "model.onnx" for variant in variants}
    verification(folder, files, judged=judged).write(folder / "verify.json")
    return read_subjects(folder / "verify.json", write_inputs(folder), folder)


def measure(found: list[Subject], params: BenchmarkParams = PARAMS) -> BenchmarkRun:
    return run_benchmark(plan(found, usable_cores(), params.lane_cores), params)


def measured(run: BenchmarkRun, variant: str) -> set[tuple[str, bool]]:
    return {(one.case.name, one.all_cores) for one in run.timings if one.subject.variant == variant}


ALL_CASES = {(case, everything) for case in SHAPES for everything in (False, True)}


def test_null_variants_are_measured_in_every_case_with_one_thread_and_all_cores(tmp_path: Path) -> None:
    run = measure(null_subjects(tmp_path, {"fp32": WORKS, "teacher": WORKS}))
    assert run.dropouts == []
    assert measured(run, "fp32") == ALL_CASES
    assert measured(run, "teacher") == {("b1_l32", False)}
    assert {one.sample_name for one in run.timings if one.judged} == {
        "m.null.fp32.b1_l32.t1.npy",
        "m.null.teacher.b1_l32.t1.npy",
    }
    for one in run.timings:
        assert len(one.blocks) == PARAMS.blocks
        assert all(0 < block.size <= PARAMS.max_block_runs for block in one.blocks)
        assert one.peak_memory_bytes > 1 << 20
        assert one.cores == tuple(usable_cores()) if one.all_cores else len(one.cores) == 1


def test_crashing_variants_fail_alone_and_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = measure(
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
    dropouts = {dropout.subject.variant: dropout for dropout in run.dropouts}
    assert dropouts["early"].error == "killed by SIGSEGV while loading"
    assert dropouts["early"].signal == dropouts["late"].signal == "SIGSEGV"
    assert dropouts["late"].error == "killed by SIGSEGV while warming up b1_l32"
    assert dropouts["killed"].signal == "SIGKILL"
    assert dropouts["raising"].error == "failed while loading: RuntimeError: the null engine was told to raise"
    assert dropouts["raising"].signal is None
    assert set(dropouts) == {"early", "late", "killed", "raising"}
    assert measured(run, "fp32") == ALL_CASES
    assert "m.null.early: killed by SIGSEGV while loading" in capfd.readouterr().err


def test_hanging_variant_is_killed_and_fails_alone(tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"load_timeout_s": 5.0})
    run = measure(null_subjects(tmp_path, {"int8": "loading hang", "fp32": WORKS}), params)
    assert [dropout.error for dropout in run.dropouts] == [
        "hung while loading: killed after 5 s (benchmark.load_timeout_s)"
    ]
    assert measured(run, "fp32") == ALL_CASES


def test_child_killed_from_outside_while_idle_is_named(tmp_path: Path) -> None:
    [subject] = null_subjects(tmp_path, {"fp32": WORKS})
    job = {
        "engine": "null",
        "path": str(subject.path),
        "precision": {},
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
    [subject] = onnx_subjects(tmp_path, mean_embedding(), Variant.FP32)
    subject.path.write_bytes(b"another file")
    with pytest.raises(IntegrityError, match=r"model\.onnx has SHA-256 .* was verified: it was changed"):
        read_subjects(tmp_path / "verify.json", subject.inputs, tmp_path)
    subject.path.unlink()
    with pytest.raises(IntegrityError, match=r"model\.onnx is missing"):
        read_subjects(tmp_path / "verify.json", subject.inputs, tmp_path)


def test_teacher_is_measured_in_the_judged_cases_alone(tmp_path: Path) -> None:
    judged = {"one": JudgedCase(shape=THROUGHPUT.shape, threads=2)}
    teacher, int8 = onnx_subjects(tmp_path, mean_embedding(), Variant.TEACHER, Variant.INT8, judged=judged)
    assert [case.name for case in teacher.cases] == ["b4_l16"]
    assert teacher.threads == (2,)
    assert int8.cases == (LATENCY, THROUGHPUT)
    assert int8.threads == (1, "all", 2)
    assert int8.budgets_of(THROUGHPUT) == (Budgeted("one", "b4_l16", 2),)
    assert int8.budgets_of(LATENCY) == ()


def test_judged_cases_share_half_of_the_time(tmp_path: Path) -> None:
    one, two, three = (CaseEntry(name=f"b1_t{n}", shape={"batch": 1, "tokens": n}) for n in (1, 32, 128))
    onnx.save(mean_embedding(), tmp_path / "model.onnx")
    files = {(Engine.ONNXRUNTIME, Variant.FP32): "model.onnx"}
    judged = {name: JudgedCase(shape=case.shape, threads=1) for name, case in {"token": one, "first": three}.items()}
    verification(tmp_path, files, cases=(three, one, two), judged=judged).write(tmp_path / "verify.json")
    [subject] = read_subjects(tmp_path / "verify.json", write_inputs(tmp_path), tmp_path)
    assert subject.cases == (one, two, three)
    assert [subject.seconds(case, 2.0) for case in subject.cases] == [0.5, 1.0, 0.5]


@pytest.mark.parametrize(
    ("steps", "variants", "fp32_cases"),
    [
        (("teacher",), (Variant.FP32, Variant.INT8), 1),
        (("teacher",), (Variant.FP32,), 2),
        (("teacher", "distill"), (Variant.FP32, Variant.INT8), 2),
    ],
)
def test_fp32_stands_in_for_a_teacher_that_is_compressed(
    tmp_path: Path, steps: tuple[str, ...], variants: tuple[Variant, ...], fp32_cases: int
) -> None:
    onnx.save(mean_embedding(), tmp_path / "model.onnx")
    made = verification(tmp_path, {(Engine.ONNXRUNTIME, variant): "model.onnx" for variant in variants})
    nothing = {"params": None, "macs": None, "size_bytes": None, "quality": {}}
    taken = tuple(StepSummary(step=step, **nothing) for step in steps)
    made.model_copy(update={"steps": taken}).write(tmp_path / "verify.json")
    fp32, *others = read_subjects(tmp_path / "verify.json", write_inputs(tmp_path), tmp_path)
    assert len(fp32.cases) == fp32_cases
    assert all(len(one.cases) == 2 for one in others)


def test_a_judged_case_that_is_not_measured_is_named(tmp_path: Path) -> None:
    judged = {"token": JudgedCase(shape={"batch": 1, "length": 7}, threads=1)}
    with pytest.raises(
        IntegrityError, match=r"budgets\.cases\.token asks for batch 1, length 7, .* no case .* has b1_l32, b4_l16"
    ):
        onnx_subjects(tmp_path, mean_embedding(), Variant.FP32, judged=judged)


def test_the_engine_gets_the_variants_precision(tmp_path: Path) -> None:
    onnx.save(mean_embedding(), tmp_path / "model.onnx")
    reduced = export.Precision(weights="int8", activations="int8 dynamic", inference="bf16", cache="none")
    files = {(Engine.ONNXRUNTIME, Variant.INT8): "model.onnx"}
    verification(tmp_path, files, precision=reduced).write(tmp_path / "verify.json")
    run = measure(read_subjects(tmp_path / "verify.json", write_inputs(tmp_path), tmp_path))
    # ONNX Runtime has no bf16: that it says so shows that it was asked.
    assert [dropout.error.rpartition(": ")[0].partition("Error: ")[2] for dropout in run.dropouts] == [
        f"{tmp_path / 'model.onnx'}: onnxruntime has no inference in 'bf16'"
    ]


def test_results_of_a_real_onnx_model(tmp_path: Path) -> None:
    run = measure(onnx_subjects(tmp_path, mean_embedding(), Variant.FP32))
    assert run.dropouts == []
    layout = Layout(tmp_path)
    write_results(run, {"cpu": "test"}, PARAMS, layout)
    results = Results.read(layout.results)
    assert results == record(run, {"cpu": "test"}, PARAMS)
    assert len(results.measurements) == 4
    for one in results.measurements:
        samples = np.load(layout.results.parent / one.samples)
        assert samples.dtype == np.float64
        assert samples.shape == (one.runs,) == (sum(one.block_runs),)
        assert one.latency_p95_ms == pytest.approx(np.percentile(samples, 95), abs=1e-6)
        assert 0 < one.latency_p50_ms <= one.latency_p90_ms <= one.latency_p99_ms
        assert one.shape == {"b1_l32": LATENCY, "b4_l16": THROUGHPUT}[one.case].shape
        assert one.judged == (("",) if (one.case, one.threads, one.all_cores) == ("b1_l32", 1, False) else ())
    headline = results.judged("m", Engine.ONNXRUNTIME, Variant.FP32)
    assert headline is not None
    metrics = read_json(layout.benchmark_metrics)["m"]["onnxruntime"]["fp32"]
    assert metrics["latency_p95_ms"] == headline.latency_p95_ms


def test_metrics_of_several_judged_cases_stand_by_their_names(tmp_path: Path) -> None:
    judged = {"one": JudgedCase(shape=LATENCY.shape, threads=1), "many": JudgedCase(shape=THROUGHPUT.shape, threads=1)}
    run = measure(onnx_subjects(tmp_path, mean_embedding(), Variant.FP32, judged=judged))
    write_results(run, {"cpu": "test"}, PARAMS, Layout(tmp_path))
    results, metrics = Results.read(Layout(tmp_path).results), read_json(Layout(tmp_path).benchmark_metrics)
    for name in judged:
        found = results.judged("m", Engine.ONNXRUNTIME, Variant.FP32, name)
        assert found is not None
        assert metrics["m"]["onnxruntime"]["fp32"][name]["latency_p50_ms"] == found.latency_p50_ms


def test_a_state_is_filled_before_the_clock_and_rewound_between_runs(tmp_path: Path) -> None:
    first = CaseEntry(name="b1_t1", shape={"batch": 1, "tokens": 1})
    later = CaseEntry(name="b1_t1_after", shape={"batch": 1, "tokens": 1}, before=True)
    onnx.save(running_sum(capacity=2), tmp_path / "sum.onnx")
    arrays = {"b1_t1": (7, 0), "b1_t1_after": (5, 1), "b1_t1_after.before": (3, 0)}
    save_file(
        {
            f"{case}.{name}": array
            for case, (token, position) in arrays.items()
            for name, array in {
                "tokens": np.array([[token]], np.int32),
                "position": np.array([position], np.int32),
            }.items()
        },
        tmp_path / "inputs.safetensors",
    )
    files = {(Engine.ONNXRUNTIME, Variant.FP32): "sum.onnx"}
    verification(tmp_path, files, cases=(first, later)).write(tmp_path / "verify.json")
    run = measure(read_subjects(tmp_path / "verify.json", tmp_path / "inputs.safetensors", tmp_path))
    assert run.dropouts == []
    assert {one.case.name for one in run.timings} == {"b1_t1", "b1_t1_after"}
    assert all(block.size > 0 for one in run.timings for block in one.blocks)


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
