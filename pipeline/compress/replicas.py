"""Data-parallel training on the cores of one machine: a batch is cut into parts, one a thread.

PyTorch's own way shares each operation among the cores and waits for the slowest of them hundreds of times a step.
Here each core takes its part of the batch through the whole model, and the cores meet once in the forward and once
in the backward pass. What it gains is measured in docs/decisions/0007-training-speed.md.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# A thread with fewer texts spends its time on starting operations.
_MAX_THREADS = 4


class Replicas:
    """Copies of a model, one a thread: they share its weights, and their gradients are summed into its own.

    A context manager; the model must keep its parameters while it is open. The sum is made in a fixed order, so that
    two runs with the same number of cores give the same weights. Models whose rows influence each other (batch
    normalization) must not be trained so, because each thread sees only its own rows.
    """

    def __init__(self, model: nn.Module) -> None:
        self._threads_before = torch.get_num_threads()
        count = min(self._threads_before, _MAX_THREADS)
        self._models = [model, *(_sharing(model) for _ in range(count - 1))]
        each = max(1, self._threads_before // count)
        self._pool = ThreadPoolExecutor(count, "replica", initializer=torch.set_num_threads, initargs=(each,))
        # Makes autograd call `_Joined.backward`: the outputs' own graphs end in the threads.
        self._anchor = torch.zeros((), requires_grad=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        # The threads' setting also reached MKL, which has one for all.
        torch.set_num_threads(self._threads_before)

    def __call__(self, *arrays: NDArray[np.generic]) -> Tensor:
        """Run the model on a batch; `backward` on the result reaches the model's parameters.

        Args:
            arrays: the model's arguments, [n, ...] each.

        Returns:
            The model's output for the whole batch, float32 `[n, ...]`.
        """
        outputs = list(self._pool.map(self._forward, range(len(self._models)), [arrays] * len(self._models)))
        joined: Tensor = _Joined.apply(self._anchor, self, outputs)  # type: ignore[no-untyped-call]
        return joined

    def rows(self, thread: int) -> slice:
        """The rows of a batch that a thread takes: each `count`-th, since neighbours are of similar length."""
        return slice(thread, None, len(self._models))

    def backward(self, outputs: Sequence[Tensor], gradient: Tensor) -> None:
        """Run each thread's backward pass, and add the copies' gradients to the model's."""

        def run(thread: int) -> None:
            outputs[thread].backward(gradient[self.rows(thread)])  # type: ignore[no-untyped-call]

        list(self._pool.map(run, range(len(outputs))))
        own = list(self._models[0].parameters())
        for replica in self._models[1:]:
            for mine, theirs in zip(own, replica.parameters(), strict=True):
                if mine.grad is not None and theirs.grad is not None:
                    mine.grad += theirs.grad
                theirs.grad = None

    def _forward(self, thread: int, arrays: Sequence[NDArray[np.generic]]) -> Tensor:
        output: Tensor = self._models[thread](*(torch.from_numpy(array[self.rows(thread)]) for array in arrays))
        return output


class _Joined(torch.autograd.Function):
    """The parts' rows in the order of the batch; backwards, each thread gets the gradient of its rows."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, replicas: Replicas, outputs: Sequence[Tensor]) -> Tensor:
        ctx.replicas, ctx.outputs = replicas, outputs
        whole = outputs[0].new_empty(sum(len(part) for part in outputs), *outputs[0].shape[1:])
        for thread, part in enumerate(outputs):
            whole[replicas.rows(thread)] = part.detach()
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ctx.replicas.backward(ctx.outputs, gradient)
        return None, None, None


def _sharing(model: nn.Module) -> nn.Module:
    """A copy whose parameters have the same memory and gradients of their own."""
    replica = copy.deepcopy(model)
    for mine, theirs in zip(model.parameters(), replica.parameters(), strict=True):
        theirs.data = mine.data
    return replica
