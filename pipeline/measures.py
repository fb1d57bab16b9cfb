"""What a model costs before any engine runs it: parameters, multiply-accumulates, bytes, milliseconds in PyTorch."""

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_TIMED_RUNS = 30


def count_params(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """Multiply-accumulates of the matrix products and convolutions of one call (PyTorch's own flop counter, halved)."""
    # Attention kernels hide their products from the counter; the plain one shows them.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(**inputs)
    return int(counter.get_total_flops()) // 2


def latency_ms(models: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> dict[str, float]:
    """Median milliseconds of one call of each model in PyTorch, one thread.

    The models take turns, so that drift hits all alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samples: dict[str, list[float]] = {name: [] for name in models}
    try:
        with torch.inference_mode():
            for model in models.values():
                model(**inputs)
            for _ in range(_TIMED_RUNS):
                for name, model in models.items():
                    start = time.perf_counter()
                    model(**inputs)
                    samples[name].append((time.perf_counter() - start) * 1e3)
    finally:
        torch.set_num_threads(threads)
    return {name: sorted(times)[len(times) // 2] for name, times in samples.items()}
