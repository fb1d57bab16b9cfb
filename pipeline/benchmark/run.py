"""The rounds of the benchmark: interleaved blocks, in lanes, every variant in its own process.

Load all variants of a phase, warm each one up, then go round: one block of every case of every variant, and
again, so that a slow minute of the machine hits all of them alike. A variant that fails is left out from then on.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.benchmark.lanes import Lane, Phase
from pipeline.benchmark.progress import BenchmarkProgress
from pipeline.benchmark.subjects import Subject, Threads
from pipeline.benchmark.worker import Worker, WorkerError
from pipeline.params.schema import BenchmarkParams
from pipeline.records.verification import CaseEntry


@dataclass
class Timing:
    """Every sample of one variant in one case with one thread setting.

    Attributes:
        blocks: float64 milliseconds [runs], one array a round.
        load_ms: opening the session, the import of the engine's package included.
        peak_memory_bytes: largest resident size of the child process up to the end of this case's warm-up.
    """

    subject: Subject
    case: CaseEntry
    threads: int
    all_cores: bool
    cores: tuple[int, ...]
    load_ms: float
    peak_memory_bytes: int
    blocks: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def sample_name(self) -> str:
        """File name of the raw samples."""
        return f"{self.subject.name}.{self.case.name}.t{'all' if self.all_cores else self.threads}.npy"

    @property
    def judged(self) -> tuple[str, ...]:
        """The budgets' cases that it answers: those with its shape and its threads."""
        given: Threads = "all" if self.all_cores else self.threads
        return tuple(one.budget for one in self.subject.budgets_of(self.case) if one.threads == given)


@dataclass(frozen=True)
class Dropout:
    """A variant that crashed, hung or raised; `signal` is the name of what killed it, if a signal did."""

    subject: Subject
    error: str
    signal: str | None


@dataclass
class BenchmarkRun:
    """Everything that a run of the benchmark found."""

    timings: list[Timing] = field(default_factory=list)
    dropouts: list[Dropout] = field(default_factory=list)

    def lost(self, subject: Subject) -> bool:
        """Whether the variant has dropped out already."""
        return any(one.subject.name == subject.name for one in self.dropouts)


def run_benchmark(phases: Sequence[Phase], params: BenchmarkParams) -> BenchmarkRun:
    """Measure every phase.

    Args:
        phases: from `lanes.plan`.
        params: blocks, their seconds and limits.

    Returns:
        Complete timings only. A variant that failed has an entry in `dropouts`, and timings of the phases before it
        failed.
    """
    found = BenchmarkRun()
    rounds = 1 + params.blocks
    with BenchmarkProgress(sum(len(subjects) * rounds for phase in phases for _, subjects in phase.lanes)) as progress:
        for phase in phases:
            _run_phase(phase, params, found, progress)
    return found


@dataclass
class _Running:
    subject: Subject
    worker: Worker
    timings: list[Timing]


class _LaneRun:
    """One lane of a phase; its methods run in the lane's own thread."""

    def __init__(self, phase: Phase, lane: Lane, params: BenchmarkParams, stopping: threading.Event) -> None:
        self._phase, self._lane, self._params, self._stopping = phase, lane, params, stopping
        self.running: list[_Running] = []
        self.dropouts: list[Dropout] = []

    def load(self, subjects: Sequence[Subject], stack: ExitStack, progress: BenchmarkProgress) -> None:
        for subject in subjects:
            if self._stopping.is_set():
                return
            worker = stack.enter_context(Worker())
            self._attempt(subject, partial(self._start, subject, worker), worker, progress)

    def measure(self, progress: BenchmarkProgress) -> None:
        for block in range(self._params.blocks):
            for entry in list(self.running):
                if self._stopping.is_set():
                    return
                self._attempt(entry.subject, partial(self._round, entry, block), entry.worker, progress)

    def _attempt(self, subject: Subject, step: Callable[[], None], worker: Worker, progress: BenchmarkProgress) -> None:
        """Take a step of a variant; when it fails, the variant is out and the others go on."""
        try:
            step()
        except WorkerError as error:
            worker.close()
            self.running = [entry for entry in self.running if entry.subject is not subject]
            if not self._stopping.is_set():
                self.dropouts.append(Dropout(subject, str(error), error.signal_name))
                progress.say(f"{subject.name}: {error}")
        progress.advance(subject.name)

    def _start(self, subject: Subject, worker: Worker) -> None:
        limit = self._params.load_timeout_s
        reply = worker.ask(self._job(subject), "loading", limit)
        timings = []
        for case in subject.cases:
            warm = worker.ask({"warm_up": case.name}, f"warming up {case.name}", limit)
            timings.append(
                Timing(
                    subject,
                    case,
                    self._phase.threads,
                    self._phase.all_cores,
                    self._lane.cores,
                    reply["load_ms"],
                    warm["peak_memory_bytes"],
                )
            )
        self.running.append(_Running(subject, worker, timings))

    def _job(self, subject: Subject) -> dict[str, object]:
        return {
            "engine": subject.engine,
            "path": str(subject.path),
            "precision": asdict(subject.precision),
            "threads": self._phase.threads,
            "cores": list(self._lane.cores),
            "inputs": str(subject.inputs),
            "cases": [case.name for case in subject.cases],
            "warmup_runs": self._params.warmup_runs,
            "warmup_seconds": self._params.block_seconds,
        }

    def _round(self, entry: _Running, block: int) -> None:
        for timing in entry.timings:
            case, seconds = timing.case, entry.subject.seconds(timing.case, self._params.block_seconds)
            command = {"measure": case.name, "seconds": seconds, "max_runs": self._params.max_block_runs}
            doing = f"measuring {case.name}, block {block + 1} of {self._params.blocks}"
            reply = entry.worker.ask(command, doing, self._params.load_timeout_s + seconds)
            timing.blocks.append(np.asarray(reply["samples_ns"], dtype=np.float64) / 1e6)


def _run_phase(phase: Phase, params: BenchmarkParams, found: BenchmarkRun, progress: BenchmarkProgress) -> None:
    """Load in all lanes, and only when all have loaded measure in all lanes."""
    stopping = threading.Event()
    lanes = [
        (_LaneRun(phase, lane, params, stopping), [s for s in subjects if not found.lost(s)])
        for lane, subjects in phase.lanes
    ]
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=max(len(lanes), 1)) as pool:
        try:
            for loading in [pool.submit(run.load, subjects, stack, progress) for run, subjects in lanes]:
                loading.result()
            for measuring in [pool.submit(run.measure, progress) for run, _ in lanes]:
                measuring.result()
        finally:
            stopping.set()
    for run, _ in lanes:
        found.timings += [timing for entry in run.running for timing in entry.timings]
        found.dropouts += run.dropouts
