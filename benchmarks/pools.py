"""Counts what is left of a pool's worker that is killed, and checks that the next build goes on.

    python -m benchmarks.pools [--rounds N]

Each round starts a build with a stage on a worker. At a random moment the worker is killed with -9. 5 s later its
processes are counted, those in the background too. Then another worker starts and the build is repeated. One Prefect
server serves all rounds, four of them at once. Prints JSON lines.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.orchestration import graphs, several

AT_ONCE = 4
LEFT_SECONDS = 5
BUILD = [sys.executable, "-c", graphs.CLI, "build"]
# One stage in the pool with children in the background, and one here that reads it.
GRAPH = """stages:
  there:
    cmd: (setsid sleep 6 &); sleep 6 & sleep 3; echo 1 > there.txt
    outs: [there.txt]
    meta: {{pool: {pool}}}
  here:
    cmd: cat there.txt > here.txt
    deps: [there.txt]
    outs: [here.txt]
"""


def once(folder: Path, index: int, api: str) -> dict[str, object]:
    pool = f"pool{index}"
    world = several.World(folder / pool, GRAPH.format(pool=pool), {})
    machine = folder / f"machine{index}"
    environment = {**graphs.environment(), "PREFECT_API_URL": api}
    worker = several.Worker(machine, pool, pool, world.bare, api).ready()
    build = subprocess.Popen(
        BUILD, cwd=world.workspace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    # From the start of its run, which takes seconds, to after its end.
    several.until(lambda: len(worker.left()) > 1 or build.poll() is not None, 120)
    time.sleep(random.Random(index).uniform(0, 12))
    running = len(worker.left()) > 1
    worker.process.kill()
    begin = time.monotonic()
    time.sleep(LEFT_SECONDS)
    left = len(worker.left())
    again = several.Worker(machine, pool, pool, world.bare, api)
    build.communicate(timeout=300)
    noticed = time.monotonic() - begin
    ended = subprocess.run(BUILD, cwd=world.workspace, env=environment, capture_output=True, text=True, timeout=300)
    again.close()
    complete = ended.returncode == 0 and (world.workspace / "here.txt").exists()
    return {"running": running, "left": left, "noticed_s": noticed, "complete": complete, "code": build.returncode}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    os.environ["DVC_NO_ANALYTICS"] = "1"
    with tempfile.TemporaryDirectory(prefix="bardlet-pools-") as name:
        folder = Path(name)
        with several.prefect_server(folder / "server") as api, ThreadPoolExecutor(AT_ONCE) as side_by_side:
            found = list(side_by_side.map(lambda index: once(folder, index, api), range(rounds)))
    figures = {
        "row": "pools",
        "kills": rounds,
        "while_running": sum(bool(one["running"]) for one in found),
        "orphans": sum(int(str(one["left"])) for one in found),
        "builds_ended_at_most_s": round(max(float(str(one["noticed_s"])) for one in found), 1),
        "next_build_complete": sum(bool(one["complete"]) for one in found),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
