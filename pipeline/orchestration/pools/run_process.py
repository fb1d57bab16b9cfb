"""The process that a worker of a pool starts for each run: Prefect's engine, which must not outlive the worker.

    python -m pipeline.orchestration.pools.run_process

Importing Prefect takes seconds, in which none of our code runs. So the kernel ends this process with its worker, until
the run itself watches the worker and can still say how it ended.
"""

import json
import os
import runpy
from pathlib import Path

from pipeline import processes

# A worker tells its runs about itself.
PLACE = "BARDLET_WORKER"


def note_of(folder: Path) -> Path:
    """Where a worker finds the run that it has not finished."""
    return folder / "run"


def main() -> None:
    """Leave a note of the run for the next worker, and run it."""
    place = json.loads(os.environ[PLACE])
    processes.die_with_parent(place["pid"])
    note_of(Path(place["folder"])).write_text(os.environ["PREFECT__FLOW_RUN_ID"], encoding="utf-8")
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
