from pathlib import Path

from pipeline.orchestration.plan.needs import Machine
from pipeline.orchestration.plan.schedule import Schedule, StageOutcome
from pipeline.orchestration.run import loop
from pipeline.orchestration.run.workspace import Workspace
from tests.orchestration import graphs


def test_what_was_about_to_start_when_the_build_is_cancelled_does_not_start(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "workspace", {"a": (), "b": ("a",), "x": ()})
    with Workspace(root, lambda _: None) as workspace:
        schedule = Schedule(workspace.plan((), (), force=False), Machine(jobs=1, cores=1, memory_gb=1))

        def start(_: object, __: object, work: loop.Work) -> None:
            # As if someone had cancelled it while the thread of the task begins.
            workspace.cancel()
            work(lambda _: None)

        results = loop.build(workspace, schedule, False, start, lambda _: None)
    assert {result.name: result.outcome for result in results} == dict.fromkeys(("a", "b", "x"), StageOutcome.CANCELLED)
    assert not (root / "a.txt").exists()
