"""One variant in one process: load it, then time blocks as they are commanded.

    python -m pipeline.benchmark.child

The parent writes JSON lines to standard input: first the job, then commands. Each gets one JSON line back.
Standard output is moved aside for the replies before anything is loaded, because engines print to it.

    {"engine": "tflite", "path": "int8.tflite", "threads": 1, "cores": [0], "inputs": "inputs.safetensors",
     "precision": {"weights": "int8", "activations": "int8 dynamic", "inference": "f32", "cache": "none"},
     "cases": ["b1_l32"], "warmup_runs": 20, "warmup_seconds": 0.5}     -> {"load_ms": 12.5}
    {"warm_up": "b1_l32"}                                               -> {"peak_memory_bytes": 52428800}
    {"measure": "b1_l32", "seconds": 0.25, "max_runs": 2000}            -> {"samples_ns": [130211, ...]}

A model with a state gets a new one for each command. What a case has `before` fills it, untimed; before each run the
state is rewound to that, while the clock stands.

An exception is answered with {"error": "..."}; at the end of its input the process exits.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pipeline.benchmark.measure import measure_block, warm_up
from pipeline.benchmark.null import ENGINE as NULL
from pipeline.benchmark.null import open_null
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.session import Precision, Session, open_session

# Other variants ran since this one's last block: untimed runs bring its caches and clock speed back.
BLOCK_WARMUP_RUNS = 5
_BEFORE = "before."


@dataclass
class CaseInputs:
    """The arrays of a case by input name, and those of the call that fills the state before the clock starts."""

    timed: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    before: dict[str, NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True)
class Timed:
    """A run, and what undoes it; `None` where it leaves nothing behind."""

    call: Callable[[], NDArray[np.float32]]
    reset: Callable[[], None] | None


class Child:
    """One loaded variant and what it is timed with."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        pin(job["cores"])
        self._inputs = read_inputs(Path(job["inputs"]), job["cases"])
        self._warmup_runs = int(job["warmup_runs"])
        self._warmup_seconds = float(job["warmup_seconds"])
        start = time.perf_counter()
        self._session = _open(job["engine"], Path(job["path"]), job["threads"], Precision(**job["precision"]))
        self.load_ms = (time.perf_counter() - start) * 1000

    def answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a command of the parent and return the reply."""
        if "warm_up" in command:
            run = timed(self._session, self._inputs[command["warm_up"]])
            warm_up(run.call, self._warmup_runs, self._warmup_seconds, run.reset)
            return {"peak_memory_bytes": peak_memory_bytes()}
        run = timed(self._session, self._inputs[command["measure"]])
        warm_up(run.call, BLOCK_WARMUP_RUNS, self._warmup_seconds, run.reset)
        return {"samples_ns": measure_block(run.call, command["seconds"], command["max_runs"], run.reset)}


def timed(session: Session, case: CaseInputs) -> Timed:
    """The run of a case that is timed; a state is filled here, before the clock starts.

    Raises:
        RuntimeInputError: the case fills a state, and the model has none.
    """
    run, inputs, state = session.run, case.timed, session.new_state()
    if state is None:
        if case.before:
            raise RuntimeInputError("the case runs something before the clock starts, but the model carries no state")
        return Timed(lambda: run(inputs), None)
    if case.before:
        run(case.before, state)
    filled = state.length
    return Timed(lambda: run(inputs, state), lambda: state.rewind(filled))


def pin(cores: list[int]) -> None:
    """Keep this process to `cores`, where the platform can; before any library counts them to size its pool."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def read_inputs(path: Path, cases: list[str]) -> dict[str, CaseInputs]:
    """The arrays of each case from a safetensors file: `<case>.<input>` and `<case>.before.<input>`."""
    inputs = {case: CaseInputs() for case in cases}
    for name, array in load_file(path).items():
        case, _, input_name = name.partition(".")
        if case in inputs:
            arrays = inputs[case].before if input_name.startswith(_BEFORE) else inputs[case].timed
            arrays[input_name.removeprefix(_BEFORE)] = array
    if empty := [case for case in cases if not inputs[case].timed]:
        raise ValueError(f"{path} has no inputs for {', '.join(empty)}")
    return inputs


def peak_memory_bytes() -> int:
    """Largest resident size of this whole process so far: Python, numpy, the engine and the model.

    VmHWM starts anew at exec; ru_maxrss, which serves elsewhere, would inherit the parent's on Linux.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _open(engine: str, path: Path, threads: int | None, precision: Precision) -> Session:
    return open_null(path) if engine == NULL else open_session(engine, path, threads, precision)


def _reply(stream: TextIO, message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def main() -> None:
    """Answer the parent until its end of the pipe is closed."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    child: Child | None = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if child is None:
                child = Child(message)
                _reply(replies, {"load_ms": child.load_ms})
            else:
                _reply(replies, child.answer(message))
        # Whatever an engine raises belongs to this variant alone: the parent reports it by name.
        except Exception as error:
            _reply(replies, {"error": f"{type(error).__name__}: {error}"})
            return


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Engines' destructors have nothing to add, and one that crashes would hide the result.
    os._exit(0)
