import pytest

from pipeline.errors import InputError
from pipeline.orchestration.plan.needs import Machine, Needs, fits, read_needs, this_machine

MACHINE = Machine(jobs=3, cores=2, memory_gb=8)


def test_undeclared_stages_are_limited_by_jobs_alone() -> None:
    assert fits(Needs(), [Needs()] * 2, MACHINE)
    assert not fits(Needs(), [Needs()] * 3, MACHINE)


def test_cores_and_memory_are_shared() -> None:
    assert fits(Needs(cores=1), [Needs(cores=1)], MACHINE)
    assert not fits(Needs(cores=1), [Needs(cores=2)], MACHINE)
    assert not fits(Needs(memory_gb=5), [Needs(memory_gb=4)], MACHINE)


def test_all_cores_are_those_of_the_machine() -> None:
    assert not fits(Needs(cores=1), [Needs(cores="all")], MACHINE)
    assert fits(Needs(), [Needs(cores="all")], MACHINE)


def test_a_stage_that_needs_more_than_there_is_runs_alone() -> None:
    greedy = Needs(cores=64, memory_gb=1000)
    assert fits(greedy, [], MACHINE)
    assert not fits(greedy, [Needs()], MACHINE)


def test_a_mutex_excludes_its_own_kind() -> None:
    assert not fits(Needs(mutex="gpu"), [Needs(mutex="gpu")], MACHINE)
    assert fits(Needs(mutex="gpu"), [Needs(mutex="npu"), Needs()], MACHINE)


def test_the_machine_as_mutex_excludes_everything() -> None:
    assert not fits(Needs(mutex="machine"), [Needs()], MACHINE)
    assert not fits(Needs(), [Needs(mutex="machine")], MACHINE)
    assert fits(Needs(mutex="machine"), [], MACHINE)


def test_no_meta_means_no_needs() -> None:
    assert read_needs("distill", None) == Needs()


def test_all_mistakes_in_meta_are_named_with_their_place() -> None:
    with pytest.raises(InputError) as error:
        read_needs("distill", {"coers": 2, "memory_gb": -1})
    assert "dvc.yaml: stages.distill.meta.coers: unknown key; known are cores, memory_gb" in str(error.value)
    assert "dvc.yaml: stages.distill.meta.memory_gb: input should be greater than or equal to 0" in str(error.value)


def test_jobs_are_the_cores_unless_told() -> None:
    assert this_machine(None).jobs == this_machine(None).cores
    assert this_machine(7).jobs == 7
