"""One training loop for distillation, recovery after pruning, and quantization-aware fine-tuning."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import StageError
from pipeline.progress import track

# Clipping keeps the first steps, with embeddings far from their optimum, from throwing the layers away.
_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps.
        learning_rate: its peak, reached after `warmup_fraction` of the steps, then falling linearly to zero.
        weight_decay: AdamW's, on matrices of the layers alone (arXiv:1711.05101).
    """

    steps: int
    learning_rate: float
    warmup_fraction: float
    weight_decay: float

    def rate_at(self, step: int) -> float:
        """Learning rate of the zero-based `step`."""
        warmup = self.warmup_fraction * self.steps
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        return self.learning_rate * (self.steps - step) / max(self.steps - warmup, 1)


@dataclass(frozen=True)
class TrainReport:
    """What a training run did; `loss_first` and `loss_last` are means over the first and last twentieth."""

    steps: int
    examples: int
    seconds: float
    loss_first: float
    loss_last: float
    losses: tuple[float, ...]


def steps_of(epochs: float, examples: int, batch_size: int) -> int:
    """Optimizer steps of a number of passes; at least one where `epochs` is above zero."""
    return math.ceil(epochs * (examples // batch_size)) if epochs > 0 else 0


def train(
    model: nn.Module,
    loss: Callable[[NDArray[np.int64]], Tensor],
    batches: Iterator[NDArray[np.int64]],
    schedule: Schedule,
    label: str,
) -> TrainReport:
    """Train `model` in place.

    Args:
        loss: scalar loss of the examples with these indices.
        batches: indices of one batch a step, at least `schedule.steps` of them.
        label: names the stage in the progress bar and in errors.

    Raises:
        StageError: the loss became NaN or infinite; the step is named and no further one is made.
    """
    optimizer = torch.optim.AdamW(
        _groups(model, schedule.weight_decay), lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True
    )
    model.train()
    started = time.monotonic()
    losses: list[float] = []
    examples = 0
    for step in track(range(schedule.steps), total=schedule.steps, label=label, unit="steps"):
        indices = next(batches)
        rate = schedule.rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        value = loss(indices)
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            raise StageError(
                f"{label}: the loss became {losses[-1]} at step {step + 1} of {schedule.steps} "
                f"(learning rate {rate:.2e}): lower learning_rate, or look for bad values in the data"
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()
        examples += len(indices)
    model.eval()
    edge = max(1, len(losses) // 20)
    first, last = (float(np.mean(part)) if part else 0.0 for part in (losses[:edge], losses[-edge:]))
    return TrainReport(schedule.steps, examples, time.monotonic() - started, first, last, tuple(losses))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    embeddings = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    decayed = [p for p in model.parameters() if p.ndim > 1 and id(p) not in embeddings]
    kept = [p for p in model.parameters() if p.ndim <= 1 or id(p) in embeddings]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
