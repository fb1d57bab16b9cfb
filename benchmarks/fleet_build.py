"""The real fleet from export on: `bardlet build --jobs 2` against `dvc repro`, and the dvc.lock of both.

    python -m benchmarks.fleet_build CLONE [--jobs 2] [--rounds 1]

CLONE is a clone of this repository in which everything is built; it is left as it was. The benchmark adds a comment to
a file on which the exports depend, so both commands run the exports and all stages behind them, each from the same
state and without DVC's run-cache.

Measurements differ from run to run, and so do the files behind `benchmark`. To compare dvc.lock all the same, a third
build runs between the two. It exports and verifies anew, and takes the measurements of the `dvc repro` from the
run-cache: its dvc.lock must be the same byte for byte. That build also records how long stages take, by which the timed
build chooses what starts first. Prints JSON lines. Takes 13 minutes on 2 cores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.orchestration import graphs

TOUCHED = Path("pipeline/runtime/session.py")
LOCK = Path("dvc.lock")
RUN_CACHE = Path(".dvc/cache/runs")
MEASURED = ("benchmark", "gate", "release@")


class Clone:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = {**graphs.environment(), "PYTHONPATH": str(root)}
        # A warning of another environment would hide in the figures.
        self._environment.pop("VIRTUAL_ENV", None)

    def run(self, *command: str) -> float:
        begin = time.perf_counter()
        done = subprocess.run(command, cwd=self.root, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            tail = (done.stdout + done.stderr)[-3000:]
            raise SystemExit(f"{' '.join(command)} in {self.root} ended with {done.returncode}:\n{tail}")
        return time.perf_counter() - begin

    def dvc(self, *arguments: str) -> float:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def build(self, jobs: int) -> float:
        return self.run(sys.executable, "-c", graphs.CLI, "build", "--no-pull", "--jobs", str(jobs))

    def lock(self) -> bytes:
        return (self.root / LOCK).read_bytes()

    @contextmanager
    def touched(self) -> Iterator[None]:
        """While the block runs, a file that is read from export on has another comment."""
        file, lock = self.root / TOUCHED, self.lock()
        before = file.read_bytes()
        file.write_bytes(before + f"\n# {os.getpid()} {time.time()}\n".encode())
        try:
            yield
        finally:
            file.write_bytes(before)
            self.back_to(lock)

    def back_to(self, lock: bytes) -> None:
        (self.root / LOCK).write_bytes(lock)
        self.dvc("checkout", "-q", "--force")

    def forget_runs(self, keep: Sequence[str] = ()) -> None:
        """Empty the run-cache but for runs of stages whose names start with one of `keep`."""
        for entry in (self.root / RUN_CACHE).glob("*/*/*"):
            command = str(yaml.safe_load(entry.read_text(encoding="utf-8"))["cmd"])
            if not any(command.startswith(f"python -m stages.{name.rstrip('@')}") for name in keep):
                entry.unlink()
                # DVC fails on a folder without entries.
                with suppress(OSError):
                    entry.parent.rmdir()


def without_measurements(lock: bytes) -> dict[str, Any]:
    """What does not depend on how long things took, in the order of the file."""
    stages: dict[str, Any] = yaml.safe_load(lock)["stages"]
    return {name: name if name.startswith(MEASURED) else entry for name, entry in stages.items()}


def compare(clone: Clone, jobs: int) -> None:
    begin = clone.lock()
    clone.forget_runs()
    repro_s = clone.dvc("repro")
    serial = clone.lock()
    clone.back_to(begin)
    clone.forget_runs(keep=MEASURED)
    clone.build(jobs)
    same_measurements = clone.lock()
    clone.back_to(begin)
    clone.forget_runs()
    build_s = clone.build(jobs)
    parallel = clone.lock()
    figures = {
        "repro_s": round(repro_s, 1),
        "build_s": round(build_s, 1),
        "times_faster": round(repro_s / build_s, 2),
        "entries_the_same_but_for_measurements": list(without_measurements(serial).items())
        == list(without_measurements(parallel).items()),
        "byte_identical_with_the_same_measurements": same_measurements == serial,
    }
    print(json.dumps({"row": "fleet from export on", "jobs": jobs, **figures}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clone", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    clone = Clone(chosen.clone.resolve())
    # Nothing may be left to do that is no part of the comparison.
    clone.dvc("repro")
    for _ in range(chosen.rounds):
        with clone.touched():
            compare(clone, chosen.jobs)


if __name__ == "__main__":
    main()
