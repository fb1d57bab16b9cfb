"""Trains convolutions fast on a CPU."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline import cost

# Forward and backward pass of a step.
_PASSES = 3
# Below this a second thread waits more than it helps: a step of 64 images of a 1.6 million MACs network took 80 ms on
# one thread and 123 ms on two (137 and 172 ms with the channels first), and one of 11 million 194 and 257 ms.
_MACS_OF_A_THREAD = 4_000_000_000


@contextmanager
def fast_convolutions(model: nn.Module, example: Mapping[str, Tensor], batch: int) -> Iterator[None]:
    """While the block runs, `model` has its channels last, and PyTorch as many threads as a step of `batch` fills."""
    threads = torch.get_num_threads()
    training = model.training
    work = _PASSES * batch * cost.count_macs(model.eval(), example)
    model.train(training)
    torch.set_num_threads(max(1, min(threads, work // _MACS_OF_A_THREAD)))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        torch.set_num_threads(threads)
