"""Assigns cores to what is measured: lanes of physical cores, and the subjects spread over them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.benchmark.subjects import Subject, Threads
from pipeline.errors import InputError


@dataclass(frozen=True)
class Lane:
    """Cores that measure one subject at a time; `cores` are the operating system's numbers."""

    cores: tuple[int, ...]


@dataclass(frozen=True)
class Phase:
    """Subjects of one model with one thread setting, measured in the same rounds.

    Attributes:
        threads: threads of a run, as a number.
        all_cores: the setting was `all`.
        lanes: each lane with its subjects.
    """

    threads: int
    all_cores: bool
    lanes: tuple[tuple[Lane, tuple[Subject, ...]], ...]


def plan(subjects: Sequence[Subject], cores: Sequence[int], lane_cores: int) -> list[Phase]:
    """Order the measurements: model by model, few threads in parallel lanes, all cores one at a time.

    Args:
        subjects: what is measured.
        cores: cores for lanes; see `physical_cores`.
        lane_cores: cores of a lane; settings with more threads get as many cores as threads.

    Raises:
        InputError: a setting needs more cores than there are.
    """
    phases = []
    for model in dict.fromkeys(subject.model for subject in subjects):
        mine = [subject for subject in subjects if subject.model == model]
        settings: list[Threads] = list(dict.fromkeys(t for subject in mine for t in subject.threads))
        for setting in sorted(settings, key=lambda t: (t == "all", t if t != "all" else 0)):
            threads = len(cores) if setting == "all" else setting
            lanes = make_lanes(cores, len(cores) if setting == "all" else max(lane_cores, threads))
            chosen = [subject for subject in mine if setting in subject.threads]
            phases.append(Phase(threads, setting == "all", spread(chosen, lanes)))
    return phases


def make_lanes(cores: Sequence[int], lane_cores: int) -> list[Lane]:
    """Cut `cores` into as many lanes of `lane_cores` as there are.

    Raises:
        InputError: not even one lane fits.
    """
    if lane_cores > len(cores):
        raise InputError(
            f"a lane of {lane_cores} cores is asked for and the machine has {len(cores)} to measure on: "
            "lower benchmark.lane_cores or budgets.case.threads in params.yaml"
        )
    return [
        Lane(tuple(cores[start : start + lane_cores])) for start in range(0, len(cores) - lane_cores + 1, lane_cores)
    ]


def spread(subjects: Sequence[Subject], lanes: Sequence[Lane]) -> tuple[tuple[Lane, tuple[Subject, ...]], ...]:
    """Give each engine's variants of a model to one lane, so that they are interleaved and comparable.

    The longest group comes first, and each goes to the lane with the least work so far. The result is deterministic.
    """
    groups: dict[tuple[str, str], list[Subject]] = {}
    for subject in subjects:
        groups.setdefault((subject.model, subject.engine), []).append(subject)
    load: list[list[Subject]] = [[] for _ in lanes]
    for group in sorted(groups.values(), key=len, reverse=True):
        min(load, key=len).extend(group)
    return tuple((lane, tuple(mine)) for lane, mine in zip(lanes, load, strict=True) if mine)


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(cores: Sequence[int], siblings: Mapping[int, frozenset[int]] | None = None) -> list[int]:
    """Keep one of the hardware threads of each physical core: two lanes on one core would slow each other down.

    Args:
        cores: numbers of logical cores.
        siblings: hardware threads that share a core with each; read from Linux's sysfs by default.
    """
    taken: set[int] = set()
    kept = []
    for core in cores:
        if core in taken:
            continue
        kept.append(core)
        taken |= siblings[core] if siblings is not None else thread_siblings(core)
    return kept


def thread_siblings(core: int) -> frozenset[int]:
    """Hardware threads of the physical core that `core` belongs to, itself among them."""
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return frozenset({core})
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
