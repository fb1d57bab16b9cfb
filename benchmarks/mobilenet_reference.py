"""Full-size MobileNetV3-small, random weights, one thread: this export against a plain `torch.onnx.export`.

    python -m benchmarks.mobilenet_reference [--rounds 60] [--seconds 0.05] [--engines onnxruntime openvino tflite]

Images are 224 x 224. The reference is what `torch.onnx.export(model, (image,), dynamo=True)` writes, run by ONNX
Runtime. Every file gets its turn in each round, in one process on one core, so that noise of the machine hits all
alike. A ratio is taken within its round, and the median of the rounds is printed with the range of its middle half.
Noise images calibrate int8: only speed and bytes are judged here. Exits with 1 if fp32 takes more than 1.2 times the
reference or int8 is not faster than fp32 in ONNX Runtime.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.benchmark.measure import measure_block, warm_up
from pipeline.engines.exporter import exporter
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.layout import SUFFIX, Engine
from pipeline.runtime.session import Inputs, Session, open_session
from pipeline.students.layers.images import ImageConfig
from pipeline.students.mobilenet_v3 import MobileNetV3, MobileNetV3Config

PLAIN = "plain torch.onnx.export"
ALLOWED = 1.2
_SIDE, _CLASSES, _CALIBRATION = 224, 1000, 16
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--engines", nargs="*", type=Engine, default=list(Engine), choices=list(Engine))
    arguments = parser.parse_args()
    engines = dict.fromkeys((Engine.ONNXRUNTIME, *arguments.engines))
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), list(engines))
        pin_to_one_core()
        sessions = {name: open_session(engine.value, file, 1) for name, (engine, file) in files.items()}
        medians = measure(sessions, {"image": noise_images(1)}, arguments.rounds, arguments.seconds)
        sizes = {name: size_bytes(file) for name, (_, file) in files.items()}
    print_table(medians, sizes)
    sys.exit(judge(medians))


def write_files(folder: Path, engines: Sequence[Engine]) -> dict[str, tuple[Engine, Path]]:
    """The plain graph, and fp32 and int8 of each engine: engine and file by the name in the table."""
    model, image = random_model(), torch.from_numpy(noise_images(1))
    files = {PLAIN: (Engine.ONNXRUNTIME, folder / "plain.onnx")}
    torch.onnx.export(model, (image,), files[PLAIN][1], dynamo=True, input_names=["image"], external_data=False)
    axes: tuple[str | int, ...] = ("batch", 3, _SIDE, _SIDE)
    output = TensorSpec("logits", "float32", ("batch", _CLASSES))
    spec = ModelSpec((TensorSpec("image", "float32", axes),), output, ({"batch": 1},))
    for engine in engines:
        fp32, int8 = (folder / f"{engine}-{variant}{SUFFIX[engine]}" for variant in ("fp32", "int8"))
        exporter(engine).export(model, spec, fp32, toolchain={})
        exporter(engine).quantize(fp32, spec, {"image": noise_images(_CALIBRATION)}, int8)
        files |= {f"{engine} fp32": (engine, fp32), f"{engine} int8": (engine, int8)}
    return files


def random_model() -> nn.Module:
    """Seeded weights; batch norms settle on noise images, so that activations are as large as a real network's."""
    torch.manual_seed(0)
    images = ImageConfig(_CLASSES, 3, _SIDE, _SIDE, _MEAN, _STD)
    model = MobileNetV3(MobileNetV3Config.create(images)).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of what passes
    with torch.no_grad():
        model(torch.from_numpy(noise_images(_CALIBRATION)))
    return model.eval()


def noise_images(count: int) -> np.ndarray:
    """Seeded smooth noise, float32 [count, 3, 224, 224] from 0 to 255."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) * 255
    images: np.ndarray = nn.functional.interpolate(coarse, size=(_SIDE, _SIDE), mode="bilinear").numpy()
    return images


def pin_to_one_core() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(sessions: Mapping[str, Session], inputs: Inputs, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Median ms of each session in each round."""
    medians: dict[str, list[float]] = {name: [] for name in sessions}
    for session in sessions.values():
        warm_up(lambda session=session: session.run(inputs), 20, 1.0)  # type: ignore[misc]
    for _ in range(rounds):
        for name, session in sessions.items():
            warm_up(lambda session=session: session.run(inputs), 5, 0.1)  # type: ignore[misc]
            samples = measure_block(lambda session=session: session.run(inputs), seconds, 2000)  # type: ignore[misc]
            medians[name].append(statistics.median(samples) / 1e6)
    return medians


def ratio(medians: Mapping[str, Sequence[float]], name: str, reference: str) -> tuple[float, float, float]:
    """Quartiles over the rounds of one session's time over another's: lower, median, upper."""
    ratios = [a / b for a, b in zip(medians[name], medians[reference], strict=True)]
    lower, median, upper = np.percentile(ratios, (25, 50, 75))
    return float(lower), float(median), float(upper)


def size_bytes(file: Path) -> int:
    """A model with what belongs to it: OpenVINO's weights lie beside the `.xml`."""
    return sum(path.stat().st_size for path in file.parent.glob(f"{file.stem}.*"))


def print_table(medians: Mapping[str, Sequence[float]], sizes: Mapping[str, int]) -> None:
    print(f"{'':26} {'p50 ms':>8} {'best ms':>8} {'times plain':>20} {'times fp32':>20} {'bytes':>12}")
    for name, values in medians.items():
        columns = [_ratio_text(ratio(medians, name, PLAIN))]
        fp32 = name.replace("int8", "fp32")
        columns.append(_ratio_text(ratio(medians, name, fp32)) if fp32 != name else "")
        times = f"{statistics.median(values):8.3f} {min(values):8.3f}"
        print(f"{name:26} {times} {columns[0]:>20} {columns[1]:>20} {sizes[name]:12,}")


def _ratio_text(quartiles: tuple[float, float, float]) -> str:
    return f"{quartiles[1]:.2f} ({quartiles[0]:.2f}-{quartiles[2]:.2f})"


def judge(medians: Mapping[str, Sequence[float]]) -> int:
    """The exit code: 0 if the two limits for ONNX Runtime hold."""
    ours, int8 = f"{Engine.ONNXRUNTIME} fp32", f"{Engine.ONNXRUNTIME} int8"
    against_plain, against_fp32 = ratio(medians, ours, PLAIN)[1], ratio(medians, int8, ours)[1]
    print(f"fp32 takes {against_plain:.2f} times the plain export (at most {ALLOWED}), ", end="")
    print(f"int8 {against_fp32:.2f} times fp32 (below 1)")
    return 0 if against_plain <= ALLOWED and against_fp32 < 1 else 1


if __name__ == "__main__":
    main()
