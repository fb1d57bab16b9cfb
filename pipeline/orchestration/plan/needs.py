"""What a stage takes from the machine while it runs: cores, memory, and what it excludes.

`meta:` of a stage in dvc.yaml says so:

    meta:
      cores: 2            # or `all`; of those that the build may use
      memory_gb: 4
      mutex: gpu          # no two stages with the same word; `machine`: nothing else at all
      time_limit_s: 3600  # then its processes are ended and it counts as failed
      pool: arm-board     # runs on a machine of this Prefect work pool, and takes nothing of this one
"""

import os
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError

MACHINE = "machine"


class Needs(BaseModel):
    """What a stage declares. It takes nothing else, apart from its place among the jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: Annotated[float, Field(ge=0)] | Literal["all"] = 0
    memory_gb: Annotated[float, Field(ge=0)] = 0
    mutex: str | None = None
    time_limit_s: Annotated[float, Field(gt=0)] | None = None
    # Prefect takes neither of these characters in a name.
    pool: Annotated[str, Field(min_length=1, pattern=r"^[^/%]+$")] | None = None


class Machine(BaseModel):
    """What all stages that run at once may take together."""

    model_config = ConfigDict(frozen=True)

    jobs: Annotated[int, Field(ge=1)]
    cores: float
    memory_gb: float


def this_machine(jobs: int | None) -> Machine:
    """The cores that this process may use and the memory there is; as many jobs as cores unless told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(jobs=jobs or cores, cores=cores, memory_gb=psutil.virtual_memory().total / 1e9)


def read_needs(stage: str, meta: Mapping[str, Any] | None) -> Needs:
    """`meta:` of a stage.

    Raises:
        InputError: an unknown key or a wrong value, each with where it stands.
    """
    try:
        return Needs.model_validate(dict(meta or {}))
    except ValidationError as error:
        known = ", ".join(Needs.model_fields)
        problems = [
            f"dvc.yaml: stages.{stage}.meta.{'.'.join(map(str, problem['loc']))}: "
            + (f"unknown key; known are {known}" if problem["type"] == "extra_forbidden" else problem["msg"].lower())
            for problem in error.errors()
        ]
        raise InputError("\n".join(problems)) from error


def fits(wanted: Needs, running: Collection[Needs], machine: Machine) -> bool:
    """Whether a stage may start beside those that run; one that needs more than there is runs alone.

    A stage in a pool takes nothing of this machine. Its worker runs one stage at a time, whatever the stage declares.
    """
    running = [needs for needs in running if needs.pool is None]
    if wanted.pool is not None or not running:
        return True
    mutexes = {needs.mutex for needs in running}
    together = [*running, wanted]
    return (
        len(together) <= machine.jobs
        and MACHINE not in {wanted.mutex, *mutexes}
        and (wanted.mutex is None or wanted.mutex not in mutexes)
        and sum(machine.cores if needs.cores == "all" else needs.cores for needs in together) <= machine.cores
        and sum(needs.memory_gb for needs in together) <= machine.memory_gb
    )
