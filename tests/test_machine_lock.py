"""Ordinary stages share the machine, a measurement has it alone; shown with real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOLD = """
import sys
from pathlib import Path
from pipeline.machine_lock import machine
with machine(sys.argv[1] == "alone", lambda: print("waiting", flush=True), Path(sys.argv[2])):
    print("holds", flush=True)
    sys.stdin.readline()
"""


class Holder:
    def __init__(self, kind: str, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, kind, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate("\n")


def test_ordinary_stages_run_beside_each_other(tmp_path: Path) -> None:
    first, second = Holder("shared", tmp_path), Holder("shared", tmp_path)
    assert (first.says(), second.says()) == ("holds", "holds")
    first.end()
    second.end()


@pytest.mark.parametrize(("holder", "comer"), [("shared", "alone"), ("alone", "shared"), ("alone", "alone")])
def test_a_measurement_waits_and_is_waited_for(holder: str, comer: str, tmp_path: Path) -> None:
    first = Holder(holder, tmp_path)
    assert first.says() == "holds"
    second = Holder(comer, tmp_path)
    assert second.says() == "waiting"
    first.end()
    assert second.says() == "holds"
    second.end()


def test_a_waiting_measurement_is_not_overtaken(tmp_path: Path) -> None:
    first = Holder("shared", tmp_path)
    assert first.says() == "holds"
    measurement = Holder("alone", tmp_path)
    assert measurement.says() == "waiting"
    late = Holder("shared", tmp_path)
    assert late.says() == "waiting"
    first.end()
    assert measurement.says() == "holds"
    measurement.end()
    assert late.says() == "holds"
    late.end()


STAGE = "from pipeline import stage\nstage.main(lambda: None, (), alone={alone})"


@pytest.mark.parametrize(
    ("alone", "holder", "said"), [(True, "shared", "by other stages"), (False, "alone", "by a measurement")]
)
def test_a_stage_says_for_whom_it_waits(alone: bool, holder: str, said: str, tmp_path: Path) -> None:
    first = Holder(holder, tmp_path)
    assert first.says() == "holds"
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE.format(alone=alone)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert stage.stderr
    assert stage.stderr.readline().endswith(f": waiting: the machine is taken {said}\n")
    first.end()
    assert stage.wait(30) == 0


def test_a_killed_holder_gives_the_machine_back(tmp_path: Path) -> None:
    first = Holder("alone", tmp_path)
    assert first.says() == "holds"
    first.process.kill()
    first.process.wait()
    second = Holder("alone", tmp_path)
    assert second.says() == "holds"
    second.end()
