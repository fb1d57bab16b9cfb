"""`bardlet bench`: measure one exported file on this machine, in a child process as the benchmark does."""

import re
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors.numpy import save_file

from pipeline.benchmark.lanes import physical_cores, plan, usable_cores
from pipeline.benchmark.run import Timing, run_benchmark
from pipeline.benchmark.statistics import summarize
from pipeline.benchmark.subjects import Subject, Threads
from pipeline.engines.spec import signature_name
from pipeline.errors import InputError, StageError
from pipeline.layout import SUFFIX, Engine
from pipeline.params.schema import BenchmarkParams
from pipeline.params.values import Inference
from pipeline.records.verification import CaseEntry
from pipeline.runtime.session import Precision

# Any id of a common token serves: the time of these models does not depend on which tokens they see.
_TOKEN_ID = 1000
_IMAGE_SIZE = re.compile(r"[1-9]\d*x[1-9]\d*x[1-9]\d*")
_WARMUP_RUNS = 20
_LOAD_TIMEOUT_S = 120.0
_MAX_BLOCK_RUNS = 100_000


def bench(
    file: Annotated[Path, typer.Argument(help="Exported .onnx, .xml or .tflite file.")],
    engine: Annotated[Engine | None, typer.Option(help="Engine; by default the one of the file's suffix.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows of a run.")] = 1,
    length: Annotated[int, typer.Option(min=1, help="Tokens of a row, for a text encoder.")] = 32,
    image: Annotated[
        str | None, typer.Option(metavar="CxHxW", help="Size of an image, for an image model: 3x224x224.")
    ] = None,
    inference: Annotated[Inference, typer.Option(help="What OpenVINO computes in what is not quantized.")] = "f32",
    threads: Annotated[int, typer.Option(min=0, help="Threads of a run; 0 takes all cores.")] = 1,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of runs.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds of a block.")] = 0.5,
) -> None:
    """Measure one exported text encoder or image model on this machine.

    The file is loaded in its own process on its own cores; the inputs are made up. Prints latency, throughput, load
    time and peak memory. Files that a fleet releases are measured by `dvc repro benchmark`, on real inputs.
    """
    if not file.is_file():
        raise InputError(f"{file} is missing: name an exported .onnx, .xml or .tflite file")
    shape, arrays = _text(batch, length) if image is None else _image(batch, image)
    case = CaseEntry(name=signature_name(shape), shape=shape)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.safetensors"
        save_file({f"{case.name}.{name}": array for name, array in arrays.items()}, inputs)
        settings: tuple[Threads, ...] = (threads or "all",)
        subject = Subject(
            model="file",
            engine=engine or _engine_of(file),
            variant=file.stem,
            path=file,
            inputs=inputs,
            precision=Precision(inference=inference),
            cases=(case,),
            budgeted=(),
            threads=settings,
        )
        # A subject's only case gets half of its round.
        params = BenchmarkParams(
            lane_cores=1,
            blocks=blocks,
            warmup_runs=_WARMUP_RUNS,
            block_seconds=2 * seconds,
            max_block_runs=_MAX_BLOCK_RUNS,
            load_timeout_s=_LOAD_TIMEOUT_S,
        )
        found = run_benchmark(plan([subject], physical_cores(usable_cores()), 1), params)
    if found.dropouts:
        raise StageError(f"{file}: {found.dropouts[0].error}")
    _show(file, found.timings[0])


def _text(batch: int, length: int) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
    ids = np.full((batch, length), _TOKEN_ID, dtype=np.int32)
    return {"batch": batch, "length": length}, {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _image(batch: int, size: str) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
    if not _IMAGE_SIZE.fullmatch(size):
        raise InputError(f"--image is {size!r}; expected channels, height and width as in 3x224x224")
    axes = [int(axis) for axis in size.split("x")]
    pixels = np.random.default_rng(0).uniform(0, 255, (batch, *axes)).astype(np.float32)
    return {"batch": batch}, {"image": pixels}


def _engine_of(file: Path) -> Engine:
    for engine, suffix in SUFFIX.items():
        if file.suffix == suffix:
            return engine
    known = ", ".join(SUFFIX.values())
    raise InputError(f"{file}: no engine opens {file.suffix or 'no suffix'}: {known}; --engine names one")


def _show(file: Path, timing: Timing) -> None:
    summary = summarize(timing.blocks, timing.case.shape["batch"])
    table = Table(title=f"{file} on {timing.subject.engine}", title_justify="left", show_header=False)
    cores = ", ".join(map(str, timing.cores))
    table.add_row("case", f"{timing.case.name}, {timing.threads} threads on cores {cores}")
    table.add_row("runs", f"{summary.runs} in {len(timing.blocks)} blocks")
    for name in ("p50", "p90", "p95", "p99"):
        table.add_row(name, f"{getattr(summary, f'latency_{name}_ms'):.4g} ms")
    table.add_row("p95 of blocks", f"{min(summary.block_p95_ms):.4g} to {max(summary.block_p95_ms):.4g} ms")
    table.add_row("throughput", f"{summary.throughput_per_s:,.0f} rows/s")
    table.add_row("load", f"{timing.load_ms:.4g} ms")
    table.add_row("peak memory", f"{timing.peak_memory_bytes / 1e6:.4g} MB of the whole process")
    Console().print(table)
