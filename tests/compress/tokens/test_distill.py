from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.compress.tokens import distill
from pipeline.compress.tokens.distill import Rates, start_from_teacher, train_student
from pipeline.compress.tokens.stream import Batches, Lesson
from pipeline.compress.training import Schedule
from pipeline.errors import StageError
from pipeline.students.decoder import Decoder

from .conftest import certain_labels, tiny_decoder

_STREAM = np.tile(np.arange(20, dtype=np.int32), 60)
_LESSON = Lesson(_STREAM, None, 0.7, 0.0, 0.0, windows=4, length=16, pieces=2, whole_from=0.5, seed=1)
_RATES = Rates(Schedule(30, 0.03, 0.1, 0.0), matrix_rate=0.03, bf16=False)


def _weights(model: Decoder) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in model.state_dict().values()])


@pytest.mark.parametrize("bf16", [False, True])
def test_a_student_learns_what_follows(bf16: bool) -> None:
    student = tiny_decoder(20)
    report = train_student(student, _LESSON, replace(_RATES, bf16=bf16), "test")
    assert (report.steps, report.examples) == (30, 120)
    assert report.loss_last < 0.5 * report.loss_first
    predicted = student.logits(torch.arange(10)[None])[0].argmax(-1)
    assert predicted.tolist() == list(range(1, 11))


def test_a_student_learns_from_labels() -> None:
    # The text says that i + 1 follows, the labels say i + 2.
    labels = certain_labels([_STREAM])
    labels = replace(labels, ids=(labels.ids + 1) % 20)
    lesson = replace(_LESSON, labels=labels, labelled_share=1.0, teacher_weight=1.0)
    student = tiny_decoder(20)
    train_student(student, lesson, _RATES, "test")
    assert student.logits(torch.arange(10)[None])[0].argmax(-1).tolist() == list(range(2, 12))


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, killed, again = (tiny_decoder(20) for _ in range(3))
    train_student(undisturbed, _LESSON, _RATES, "test")
    monkeypatch.setattr(distill, "_SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    original = Batches.__getitem__

    def kill(self: Batches, step: int) -> object:
        if step == 20:
            raise KeyboardInterrupt
        return original(self, step)

    checkpoint = tmp_path / "checkpoint.pt"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batches, "__getitem__", kill)
        train_student(killed, _LESSON, _RATES, "test", checkpoint)
    assert checkpoint.is_file()
    report = train_student(again, _LESSON, _RATES, "test", checkpoint)
    assert len(report.losses) == 30
    assert torch.equal(_weights(undisturbed), _weights(again))
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_training_is_ignored(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"key": "another"}, checkpoint)
    assert train_student(tiny_decoder(20), _LESSON, _RATES, "test", checkpoint).steps == 30


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    student = tiny_decoder(20)
    with torch.no_grad():
        student.embedding.weight[3] = float("nan")
    with pytest.raises(StageError, match=r"the loss became nan at step 1 of 30"):
        train_student(student, _LESSON, _RATES, "test")


def test_the_table_starts_on_the_main_axes_of_the_teachers() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(40, 16)).astype(np.float32)
    table = hidden @ rng.normal(size=(16, 30)).astype(np.float32)
    student = tiny_decoder(40)
    size = float(student.embedding.weight.detach().std())
    assert start_from_teacher(student, table, rng.integers(1, 9, size=40)) > 0.999
    started = student.embedding.weight.detach().numpy()
    assert np.isclose(started.std(), size, rtol=1e-3)
    # Distances between tokens are the teacher's, up to one factor.
    ratios = [np.linalg.norm(started[i] - started[i + 1]) / np.linalg.norm(table[i] - table[i + 1]) for i in range(39)]
    assert np.allclose(ratios, ratios[0], rtol=1e-3)
