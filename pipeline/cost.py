"""What a model costs before any engine runs it: parameters, multiply-accumulates, bytes, milliseconds in PyTorch."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.records.step import Gain, StepReport

_TIMED_RUNS = 30


class Cost(NamedTuple):
    """What pruning lowers: the number of parameters, and the multiply-accumulates of one call."""

    params: int
    macs: int

    def __str__(self) -> str:
        return f"{self.params:,} parameters and {self.macs:,} multiply-accumulates"


def count(model: nn.Module, inputs: Mapping[str, Tensor]) -> Cost:
    """`count_params` and `count_macs` of one call on `inputs`."""
    return Cost(count_params(model), count_macs(model, inputs))


def count_params(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """Multiply-accumulates of the matrix products and convolutions of one call (PyTorch's own flop counter, halved)."""
    # Attention kernels hide their products from the counter; the plain one shows them.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(**inputs)
    return int(counter.get_total_flops()) // 2


def describe_size(model: nn.Module | None, weights: Path, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """`params`, `macs` of one call on `inputs`, and `size_bytes` of the weights' file; None for a black box."""
    if model is None:
        return {"params": None, "macs": None, "size_bytes": None}
    macs = count_macs(model, inputs)
    return {"params": count_params(model), "macs": macs, "size_bytes": weights.stat().st_size}


def gains(
    before: nn.Module, after: nn.Module, old: StepReport, new: StepReport, inputs: Mapping[str, Tensor]
) -> dict[str, Any]:
    """What pruning gained: the fields `gains` and `warnings` of a step's report.

    Args:
        before: the student as it was.
        after: the pruned one.
        old: the report of `before`.
        new: the report of `after`.
        inputs: to time both in PyTorch with.
    """
    timed = latency_ms({"before": before, "after": after}, inputs)
    pairs = {key: (float(getattr(old, key)), float(getattr(new, key))) for key in ("params", "macs", "size_bytes")}
    pairs["torch_latency_p50_ms"] = (timed["before"], timed["after"])
    return {
        "gains": {name: Gain(before=a, after=b, ratio=b / a) for name, (a, b) in pairs.items()},
        "warnings": tuple(
            f"pruning did not lower {name}: {a:.6g} before, {b:.6g} after" for name, (a, b) in pairs.items() if b >= a
        ),
    }


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
