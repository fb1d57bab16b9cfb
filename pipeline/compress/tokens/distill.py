"""Training a decoder on texts and on a teacher's distributions; a killed run goes on from its last checkpoint."""

import hashlib
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from pipeline.compress.tokens.forward import training_features
from pipeline.compress.tokens.losses import sparse_cross_entropy
from pipeline.compress.tokens.stream import Batches, Lesson
from pipeline.compress.training import Schedule, TrainReport
from pipeline.errors import StageError
from pipeline.progress import track
from pipeline.students.decoder import Decoder

_MAX_GRADIENT_NORM = 1.0
_SECONDS_BETWEEN_CHECKPOINTS = 120.0


@dataclass(frozen=True)
class Rates:
    """How fast to learn.

    Attributes:
        schedule: steps, and the rate of AdamW, which moves the table and the norms.
        matrix_rate: of Muon (Jordan et al., 2024), which moves the matrices of the layers; it follows the same
            schedule. Updates have the root mean square of AdamW's (arXiv:2502.16982).
        bf16: whether matrices are multiplied in bf16; weights and their updates stay float32.
    """

    schedule: Schedule
    matrix_rate: float
    bf16: bool


def start_from_teacher(student: Decoder, table: NDArray[np.float32], counts: NDArray[np.int64]) -> float:
    """Set the student's table to the main axes of the teacher's.

    Args:
        student: changed in place.
        table: the teacher's embeddings of the student's tokens, float32 `[vocabulary, d]`.
        counts: how often each token occurs in the training texts, int64 `[vocabulary]`. A token weighs as the root of
            it: the frequent ones matter, and the rare ones are many.

    Returns:
        Share of the weighted variance that the student's table holds.
    """
    shares = np.sqrt(counts.astype(np.float64))[:, None]
    shares /= shares.sum()
    centred = table - (table * shares).sum(axis=0)
    _, singular, axes = np.linalg.svd(centred * np.sqrt(shares), full_matrices=False)
    width = student.config.hidden_dim
    chosen = centred @ axes[:width].T
    with torch.no_grad():
        # The size that the module's own initialization has.
        chosen *= float(student.embedding.weight.detach().std()) / chosen.std()
        student.embedding.weight.copy_(torch.from_numpy(chosen.astype(np.float32)))
    return float((singular[:width] ** 2).sum() / (singular**2).sum())


def train_student(
    student: Decoder, lesson: Lesson, rates: Rates, label: str, checkpoint: Path | None = None
) -> TrainReport:
    """Train `student` in place, on as many threads as PyTorch has.

    Args:
        label: names the training in the progress line and in errors.
        checkpoint: a file that is written every two minutes. A run of the same lesson, rates and student starts from
            it; any other ignores it. It is removed at the end.

    Raises:
        StageError: the loss became NaN or infinite, or a stream is shorter than a window.
    """
    run = _Run(student, rates)
    batches = Batches(lesson, rates.schedule.steps)
    key = _key(student, lesson, rates)
    if checkpoint is not None:
        run.restore(checkpoint, key)
    student.train()
    last_saved = time.monotonic()
    remaining = range(len(run.losses), rates.schedule.steps)
    for step in track(remaining, len(remaining), label, "steps", lambda: f"loss {run.recent_loss():.3f}"):
        value = run.step(batches, step)
        if not math.isfinite(value):
            raise StageError(
                f"{label}: the loss became {value} at step {step + 1} of {rates.schedule.steps} "
                f"(rates {rates.schedule.learning_rate:.2e} and {rates.matrix_rate:.2e}): lower them"
            )
        if checkpoint is not None and time.monotonic() - last_saved > _SECONDS_BETWEEN_CHECKPOINTS:
            run.save(checkpoint, key)
            last_saved = time.monotonic()
    student.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return run.report(lesson.windows)


class _Run:
    """A training that is under way: the student, its optimizers, and the loss of each step so far."""

    def __init__(self, student: Decoder, rates: Rates) -> None:
        self._student, self._rates = student, rates
        matrices = [weight for weight in student.layers.parameters() if weight.ndim == 2]
        chosen = {id(weight) for weight in matrices}
        others = [weight for weight in student.parameters() if id(weight) not in chosen]
        schedule = rates.schedule
        self._optimizers: list[tuple[Optimizer, float]] = [
            (
                Muon(matrices, rates.matrix_rate, schedule.weight_decay, adjust_lr_fn="match_rms_adamw"),
                rates.matrix_rate,
            ),
            (
                AdamW(others, schedule.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
                schedule.learning_rate,
            ),
        ]
        self.losses: list[float] = []
        self._seconds, self._started = 0.0, time.monotonic()

    def step(self, batches: Batches, number: int) -> float:
        """One update; returns the loss before it."""
        share = self._rates.schedule.rate_at(number) / self._rates.schedule.learning_rate
        for optimizer, rate in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.zero_grad(set_to_none=True)
        batch = batches[number]
        dtype = torch.bfloat16 if self._rates.bf16 else torch.float32
        features = training_features(self._student, batch.tokens, dtype).flatten(0, 1)
        loss = sparse_cross_entropy(features, self._student.head_weight, batch.targets, dtype)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._student.parameters(), _MAX_GRADIENT_NORM)
        for optimizer, _ in self._optimizers:
            optimizer.step()
        self.losses.append(float(loss.detach()))
        return self.losses[-1]

    def recent_loss(self) -> float:
        """Mean loss of the last fifty steps."""
        return float(np.mean(self.losses[-50:])) if self.losses else math.nan

    def report(self, windows: int) -> TrainReport:
        """What was done, a killed run's part included."""
        edge = max(1, len(self.losses) // 20)
        first, last = (float(np.mean(part)) if part else 0.0 for part in (self.losses[:edge], self.losses[-edge:]))
        count = len(self.losses)
        return TrainReport(count, count * windows, self._elapsed(), first, last, tuple(self.losses))

    def save(self, path: Path, key: str) -> None:
        """Write everything that a later process needs to go on."""
        partial = path.with_suffix(".partial")
        content = {
            "key": key,
            "student": self._student.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self._optimizers],
            "losses": self.losses,
            "seconds": self._elapsed(),
        }
        torch.save(content, partial)
        partial.replace(path)

    def restore(self, path: Path, key: str) -> None:
        """Go on from a checkpoint, unless it is missing, damaged or of another training."""
        content: dict[str, Any] = {}
        with suppress(OSError, RuntimeError, ValueError, EOFError):
            content = torch.load(path, weights_only=True)
        if content.get("key") != key:
            return
        self._student.load_state_dict(content["student"])
        for (optimizer, _), state in zip(self._optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.losses, self._seconds = content["losses"], content["seconds"]

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._started


def _key(student: Decoder, lesson: Lesson, rates: Rates) -> str:
    """What a training depends on, the weights that it starts from included."""
    digest = hashlib.sha256(f"{student.config} {rates}".encode())
    for name, value in vars(lesson).items():
        arrays = vars(value) if name == "labels" and value is not None else {name: value}
        for part in arrays.values():
            digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    for weight in student.state_dict().values():
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
