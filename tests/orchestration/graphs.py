"""Made-up DVC graphs, and a build of them without Prefect."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.orchestration.plan.needs import Machine
from pipeline.orchestration.plan.schedule import Schedule, StageResult
from pipeline.orchestration.plan.summary import exit_code
from pipeline.orchestration.run import loop
from pipeline.orchestration.run.workspace import Workspace

ROOT = Path(__file__).parents[2]
CLI = "import sys; sys.argv[0] = 'bardlet'; from pipeline.cli import main; sys.exit(main())"
# A measurement on one machine, as in this repository's dvc.yaml.
MEASUREMENT = """  host:
    cmd: cat fingerprint > host.json
    deps: [params.yaml]
    outs: [{{host.json: {{cache: false}}}}]
    always_changed: true
  benchmark:
    cmd: cat host.json {outputs} > results
    deps: [host.json, {outputs_listed}]
    outs: [results]
  gate:
    cmd: wc -c results > verdict
    deps: [results]
    outs: [verdict]
"""
# One output of a stage is its name, the stages before it and a parameter.
STAGE = """  {name}:
    cmd: {command}
    deps: [{deps}]
    params:
      - {name}
    outs:
      - {name}.txt
"""


def heed_interrupts() -> None:
    """For `preexec_fn`: what a shell starts in the background ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


def command(name: str, deps: Sequence[str], sleep: float = 0) -> str:
    inputs = " ".join(["params.yaml", *(f"{dep}.txt" for dep in deps)])
    pause = f"sleep {sleep} && " if sleep else ""
    return f"{pause}(echo {name} && cat {inputs} | cksum) > {name}.txt"


def write(
    root: Path, graph: Mapping[str, Sequence[str]], commands: Mapping[str, str] | None = None, meta: str = ""
) -> Path:
    """A workspace whose stages depend on each other as `graph` says; `meta` is YAML for all of them."""
    root.mkdir(parents=True)
    text = "stages:\n"
    for name, deps in graph.items():
        text += STAGE.format(
            name=name,
            command=(commands or {}).get(name, command(name, deps)),
            deps=", ".join(f"{dep}.txt" for dep in deps),
        )
        text += f"    meta: {meta}\n" if meta else ""
    (root / "dvc.yaml").write_text(text)
    (root / "params.yaml").write_text("".join(f"{name}: {{epochs: 4}}\n" for name in graph))
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / ".dvc/.gitignore").write_text("/tmp\n/cache\n")
    return root


def add_measurement(root: Path, names: Sequence[str], machine: str) -> Path:
    """Have the outputs of these stages measured, and judged, on a machine with this fingerprint."""
    outputs = [f"{name}.txt" for name in names]
    with (root / "dvc.yaml").open("a") as file:
        file.write(MEASUREMENT.format(outputs=" ".join(outputs), outputs_listed=", ".join(outputs)))
    (root / "fingerprint").write_text(machine)
    return root


def add_remote(root: Path, url: object, **settings: str) -> Path:
    """Make `url` the shared cache of a workspace."""
    lines = "".join(f"    {name} = {value}\n" for name, value in {"url": url, "verify": "true", **settings}.items())
    with (root / ".dvc/config").open("a") as config:
        config.write(f"    remote = shared\n['remote \"shared\"']\n{lines}")
    return root


def random_graph(seed: int, most: int) -> dict[str, Sequence[str]]:
    """Up to `most` stages in an order that is not that of their dependencies."""
    chosen = random.Random(seed)
    names = [f"s{index}" for index in range(chosen.randint(2, most))]
    graph = {
        name: sorted(chosen.sample(names[:index], min(index, chosen.choice([0, 1, 1, 2, 3]))))
        for index, name in enumerate(names)
    }
    shuffled = list(graph)
    chosen.shuffle(shuffled)
    return {name: graph[name] for name in shuffled}


def repro(root: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "-q"], cwd=root, env=environment(), check=True, capture_output=True
    )


def build(
    root: Path,
    targets: Sequence[str] = (),
    models: Sequence[str] = (),
    jobs: int = 4,
    force: bool = False,
    pull: bool = True,
    push: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, StageResult], list[str]]:
    """Build without Prefect; returns the results by stage and what was told."""
    told: list[str] = []

    def hear(line: str) -> None:
        told.append(line)
        tell(line)

    def start(_: object, __: object, work: loop.Work) -> None:
        threading.Thread(target=work, args=(lambda _: None,)).start()

    with Workspace(root, hear) as workspace:
        plan = workspace.plan(targets, models, force)
        schedule = Schedule(plan, Machine(jobs=jobs, cores=4, memory_gb=8), workspace.ranks(plan))
        if pull:
            workspace.share(plan)
        results = loop.build(workspace, schedule, force, start, hear)
        if push:
            hear(workspace.push(results))
    return {result.name: result for result in results}, told


def bardlet(root: Path, *arguments: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CLI, *arguments],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


if __name__ == "__main__":
    sys.exit(exit_code(list(build(Path(sys.argv[1]))[0].values())))
