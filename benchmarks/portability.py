"""How far budgets are kept on other machines: each product's compression with several seeds and instruction sets.

    python -m benchmarks.portability [--models digits-mobilenet,…] [--seeds 1,2,3,4,5] [--paths own,avx2]
        [--through prune|quantize|verify] [--out portability.json]

Another CPU sums in another order, so training ends at another student: with another seed, one that may be as far away.
A budget that holds for all of them is no figure of one machine. Each build runs the stages' own commands in a temporary
clone of the working tree, whose params.yaml has another `seed`. The path `own` is the machine's instruction set. `avx2`
caps what can be capped: PyTorch's kernels, oneDNN (in PyTorch, and in part OpenVINO's) and MKL. ONNX Runtime and
TensorFlow Lite have no such switch: there the weights differ, and the kernels are the machine's own.

What is shared: where the teacher's weights are pinned, no seed decides them, so data and teacher are copied from this
workspace (`dvc repro teacher@MODEL` makes them) and only the student varies. Another seed would hold out other texts,
which no CPU does. A teacher that is trained here is a part of what varies: its data are drawn and it is trained anew in
each build.

Prints for every budget the worst of all builds, its margin, and which build it was; then how many builds pass, but for
latency and memory, which only the benchmark knows. The rules are the gate's own: a variant that misses a budget does
not ship, and a build fails where every variant of an engine misses one. The raw figures go to `--out` after each build;
builds that it has already are not repeated, so delete it after a change.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.gate import certain, checks
from pipeline.gate.question import Judge
from pipeline.layout import REPORT, Engine, Layout
from pipeline.params.blocks import ModelParams
from pipeline.params.file import LoadedParams, load_params
from pipeline.records.step import StepReport
from pipeline.records.verdict import Check
from pipeline.records.verification import Verification

PATHS: Mapping[str, Mapping[str, str]] = {
    "own": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
STEPS = {
    "prune": ("distill", "prune"),
    "quantize": ("distill", "prune", "quantize"),
    "verify": ("distill", "prune", "quantize", *(f"export {engine}" for engine in Engine), "verify"),
}


@dataclass(frozen=True)
class Build:
    model: str
    seed: int
    path: str

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}, {self.path}"


@dataclass(frozen=True)
class Figures:
    """What a build left; `verification` where it went through verify."""

    build: Build
    seconds: float
    reports: Mapping[str, StepReport]
    verification: Verification | None

    def as_json(self) -> dict[str, Any]:
        reports = {name: report.model_dump(mode="json") for name, report in self.reports.items()}
        verification = self.verification.model_dump(mode="json") if self.verification else None
        return {**asdict(self.build), "seconds": self.seconds, "reports": reports, "verification": verification}

    @classmethod
    def of_json(cls, entry: Mapping[str, Any]) -> "Figures":
        reports = {name: StepReport.model_validate(report) for name, report in entry["reports"].items()}
        verification = entry["verification"] and Verification.model_validate(entry["verification"])
        build = Build(entry["model"], entry["seed"], entry["path"])
        return cls(build, entry["seconds"], reports, verification)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), help="default: those of `fleet`")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3, 4, 5])
    parser.add_argument("--paths", type=lambda text: text.split(","), default=list(PATHS))
    parser.add_argument("--through", choices=list(STEPS), default="verify")
    parser.add_argument("--out", type=Path, default=Path("portability.json"))
    arguments = parser.parse_args()
    loaded = load_params()
    models = arguments.models or list(loaded.params.fleet)
    if unknown := [name for name in models if name not in loaded.params.models]:
        parser.error(f"params.yaml has no model {', '.join(unknown)}")
    if unknown := [path for path in arguments.paths if path not in PATHS]:
        parser.error(f"no path {', '.join(unknown)}: there are {', '.join(PATHS)}")
    wanted = [Build(m, seed, path) for seed in arguments.seeds for path in arguments.paths for m in models]
    done = read(arguments.out)
    for figures in run_all([build for build in wanted if build not in done], arguments.through, loaded):
        done[figures.build] = figures
        write(arguments.out, done)
    for model in models:
        show([done[build] for build in wanted if build.model == model], loaded)


def read(path: Path) -> dict[Build, Figures]:
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {figures.build: figures for figures in map(Figures.of_json, entries)}


def write(path: Path, done: Mapping[Build, Figures]) -> None:
    path.write_text(json.dumps([figures.as_json() for figures in done.values()], indent=1) + "\n", encoding="utf-8")


def run_all(builds: Sequence[Build], through: str, loaded: LoadedParams) -> Iterator[Figures]:
    """Run the builds one after another; the time left is judged from those of the same product."""
    taken: dict[str, list[float]] = {}
    for number, build in enumerate(builds):
        every = [seconds for model in taken.values() for seconds in model]
        left = sum(statistics.mean(taken.get(one.model) or every) for one in builds[number:]) if every else None
        time_left = "" if left is None else f", about {left / 60:.0f} min left"
        print(f"build {number + 1} of {len(builds)}: {build}{time_left}", file=sys.stderr, flush=True)
        figures = run_build(build, through, loaded.params.models[build.model])
        taken.setdefault(build.model, []).append(figures.seconds)
        yield figures


def run_build(build: Build, through: str, params: ModelParams) -> Figures:
    started = time.monotonic()
    pinned = params.pinned_teacher() is not None
    with clone(build.seed) as root:
        if pinned:
            copy_teacher(build.model, root)
        for step in (*(() if pinned else ("data", "teacher")), *STEPS[through]):
            run_stage(step, build, root)
        paths = Layout(root).model(build.model)
        folders = {"student": paths.student, "pruned": paths.pruned, "quantized": paths.quantized}
        reports = {name: StepReport.read(folder / REPORT) for name, folder in folders.items() if folder.exists()}
        verification = Verification.read(paths.verification) if through == "verify" else None
    return Figures(build, time.monotonic() - started, reports, verification)


@contextmanager
def clone(seed: int) -> Iterator[Path]:
    """A temporary copy of the working tree, ignored files left out, with another seed in params.yaml."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory(prefix="portability-") as folder:
        root = Path(folder)
        for name in filter(lambda name: Path(name).is_file(), listed.stdout.splitlines()):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, root / name)
        text = (root / "params.yaml").read_text(encoding="utf-8")
        seeded = re.sub(r"(?m)^seed: *\d+", f"seed: {seed}", text, count=1)
        (root / "params.yaml").write_text(seeded, encoding="utf-8")
        yield root


def copy_teacher(model: str, root: Path) -> None:
    here, there = (Layout(base).model(model) for base in (Path(), root))
    for source, target in ((here.data, there.data), (here.teacher, there.teacher)):
        if not source.exists():
            raise SystemExit(f"{source} is missing: `dvc repro teacher@{model}` makes it")
        shutil.copytree(source, target)


def run_stage(step: str, build: Build, root: Path) -> None:
    stage, *engine = step.split()
    capped = {name for path in PATHS.values() for name in path}
    environment = {name: value for name, value in os.environ.items() if name not in capped}
    environment |= {"PYTHONPATH": str(root), **PATHS[build.path]}
    command = [sys.executable, "-m", f"stages.{stage}", build.model, *engine]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{step} of {build} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def show(figures: Sequence[Figures], loaded: LoadedParams) -> None:
    """The worst case of every budget of one model, and how many builds pass."""
    model = figures[0].build.model
    params, judge = loaded.params.models[model], Judge(model, loaded.line)
    print(f"\n{model}: {len(figures)} builds")
    print(f"  {'':36}{'budget':>20}{'worst':>20}{'margin':>9}   of")
    found = [(one.build, check) for one in figures for check in checks_of(one, params, judge)]
    for name in dict.fromkeys(label(check) for _, check in found):
        same = [(build, check) for build, check in found if label(check) == name]
        build, worst = min(same, key=lambda pair: pair[1].margin if pair[1].margin is not None else float("-inf"))
        margin = "-" if worst.margin_fraction is None else f"{worst.margin_fraction:+.1%}"
        numbers = (worst.text(worst.allowed), worst.text(worst.observed))
        print(f"  {name:36}{numbers[0]:>20}{numbers[1]:>20}{margin:>9}   seed {build.seed}, {build.path}")
    passed = [one for one in figures if not foreseen(one, params, loaded).misses]
    print(f"  verdict but for latency and memory: PASS {len(passed)} of {len(figures)}")
    for one in figures:
        for check in foreseen(one, params, loaded).misses:
            print(f"    {one.build}: {check.message}")


def label(check: Check) -> str:
    return " ".join(str(part) for part in (check.engine, check.variant, check.label) if part)


def checks_of(one: Figures, params: ModelParams, judge: Judge) -> Iterator[Check]:
    """Every budget that has a number; whether an export is verified has none, and counts in the verdict."""
    pruned = one.reports["pruned"]
    yield from checks.model_checks(pruned.params, pruned.macs, params.budgets, judge)
    if one.verification is None:
        return
    for variant in one.verification.variants:
        if variant.variant.is_student:
            yield from checks.size_checks(variant.engine, variant.variant, variant.size_bytes, params.budgets, judge)
            yield from checks.quality_checks(variant, one.verification, params, judge)


def foreseen(one: Figures, params: ModelParams, loaded: LoadedParams) -> certain.Foreseen:
    if one.verification is None:
        return certain.after_prune(one.build.model, params, loaded.line, one.reports["pruned"])
    return certain.after_verify(one.build.model, params, loaded.line, one.verification)


if __name__ == "__main__":
    main()
