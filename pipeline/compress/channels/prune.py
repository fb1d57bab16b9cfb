"""Structured pruning of a convolutional student below ceilings of parameters and multiply-accumulates.

Channels that must go together (a convolution's, its batch norm's, those of the depthwise convolution and of
squeeze-and-excitation behind it, all that a residual adds to) are found by Torch-Pruning's dependency graph
(arXiv:2301.12900). They are cut out, not zeroed: the result is a new, smaller model of the same architecture, built
from a config with its widths. Which channels go, and from where: `pipeline.compress.channels.widths`.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pipeline import cost
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.channels.costs import CostModel
from pipeline.compress.channels.groups import Group, find_groups, without
from pipeline.compress.channels.widths import choose, least_widths
from pipeline.cost import Cost
from pipeline.errors import InputError, StageError
from pipeline.students import Config

Evaluate = Callable[[nn.Module], float]


@runtime_checkable
class Prunable(Protocol):
    """A student whose channels can be pruned; its configs hold every width."""

    config: Any

    def fixed_layers(self) -> list[nn.Module]:
        """Convolutions and linear layers whose outputs must all stay."""

    def config_of_layers(self) -> Config:
        """The config with the widths that the layers have now."""


@dataclass(frozen=True)
class GroupReport:
    """One group of coupled channels.

    Attributes:
        layers: names of the modules whose outputs are pruned together.
        channels_before: its width before pruning.
        channels_after: its width after pruning.
        sensitivity: how much the loss rises when `sensitivity_ratio` of this group alone goes; None if not measured.
    """

    layers: tuple[str, ...]
    channels_before: int
    channels_after: int
    sensitivity: float | None


@dataclass(frozen=True)
class PruningReport:
    """What pruning did; multiply-accumulates are of one call with the example."""

    before: Cost
    after: Cost
    sensitivity_ratio: float | None
    groups: tuple[GroupReport, ...]


def prune_channels(
    model: nn.Module,
    example: Mapping[str, Tensor],
    ceilings: Ceilings,
    *,
    evaluate: Evaluate | None = None,
    sensitivity_ratio: float = 0.5,
    round_to: int = 8,
    max_pruned: float = 0.75,
) -> tuple[nn.Module, PruningReport]:
    """A copy of `model` that is below the ceilings, in evaluation mode; it needs recovery.

    The channels that cost the least importance for their share of what is above the ceilings go first. Importance is
    the group magnitude of arXiv:2301.12900 within a group; between groups it is weighed by the group's sensitivity.
    Without `evaluate` all groups count alike, which costs far more accuracy (docs/decisions/0006-image-students.md).

    Args:
        model: a student with the methods of `Prunable`; unchanged.
        example: one call's inputs.
        ceilings: what the copy may have; where `model` is below both, the copy computes the same.
        evaluate: loss of a model on data that is not trained on. Called once for the model and once for each group.
        sensitivity_ratio: share of a group's channels that goes when its sensitivity is measured.
        round_to: widths become multiples of this, which keeps the engines on their fast paths.
        max_pruned: largest share of a group's channels that may go.

    Raises:
        InputError: a ceiling is below what these limits allow; the message says how far pruning can go.
        StageError: the copy is above a ceiling, which is a defect of ours.
    """
    working = _copied(model)
    groups = find_groups(working, example, working.fixed_layers())
    sensitivities = None if evaluate is None else measure_sensitivity(working, groups, evaluate, sensitivity_ratio)
    costs = CostModel.of(working, example, groups)
    kept = choose(groups, costs, ceilings, sensitivities, round_to=round_to, max_pruned=max_pruned)
    for group in groups:
        group.cut(kept[group.name])
    pruned = _rebuilt(working, type(model))
    report = PruningReport(
        before=cost.count(model, example),
        after=ceilings.require_met(pruned, example),
        sensitivity_ratio=None if sensitivities is None else sensitivity_ratio,
        groups=tuple(
            GroupReport(
                group.layers,
                group.width,
                len(kept[group.name]),
                None if sensitivities is None else sensitivities[group.name],
            )
            for group in groups
        ),
    )
    return pruned, report


def measure_sensitivity(model: nn.Module, groups: list[Group], evaluate: Evaluate, ratio: float) -> dict[str, float]:
    """How much `evaluate` rises when one group alone loses its least important `ratio`, by the group's name.

    The channels are hidden from their readers, which computes the same as cutting them out. `model` ends unchanged.

    Raises:
        StageError: a loss is NaN or infinite.
    """
    base = evaluate(model)
    risen: dict[str, float] = {}
    for group in groups:
        order = group.importance.argsort()
        with without(group, order[: int(group.width * ratio)]):
            risen[group.name] = evaluate(model) - base
    bad = [name for name, value in risen.items() if not math.isfinite(value)]
    if bad:
        raise StageError(f"the loss without channels of {', '.join(bad)} is no number (whole: {base:g}): distil again")
    return risen


def prune_to_latency(
    model: nn.Module,
    example: Mapping[str, Tensor],
    latency_ratio: float,
    ceilings: Ceilings,
    *,
    steps: int = 5,
    latency_ms: Callable[[nn.Module], float] | None = None,
    **options: Any,
) -> tuple[nn.Module, PruningReport]:
    """The largest model tried that meets the ceilings and takes at most `latency_ratio` of `model`'s latency.

    Bisects `steps` times between the least reachable multiply-accumulates and their ceiling.

    Args:
        latency_ms: milliseconds of one call of a model; by default the median in PyTorch on one thread.
        options: those of `prune_channels`.

    Raises:
        InputError: even the smallest model is slower than that, or the ceilings cannot be reached.
        StageError: as `prune_channels`.
    """

    def ratio_of(candidate: nn.Module) -> float:
        if latency_ms is not None:
            return latency_ms(candidate) / latency_ms(model)
        timed = cost.latency_ms({"before": model, "after": candidate}, example)
        return timed["after"] / timed["before"]

    best = prune_channels(model, example, ceilings, **options)
    if ratio_of(best[0]) <= latency_ratio:
        return best
    low, high = least_cost(model, example, **_limits(options)).macs, best[1].after.macs
    best = prune_channels(model, example, replace(ceilings, max_macs=low), **options)
    fastest = ratio_of(best[0])
    if fastest > latency_ratio:
        raise InputError(
            f"pruned to {low / best[1].before.macs:.0%} of its MACs, as far as the limits allow, the model still takes "
            f"{fastest:.0%} of its time, not {latency_ratio:.0%}: raise prune.latency_ratio"
        )
    for _ in range(steps):
        middle = (low + high) // 2
        candidate = prune_channels(model, example, replace(ceilings, max_macs=middle), **options)
        if ratio_of(candidate[0]) <= latency_ratio:
            low, best = middle, candidate
        else:
            high = middle
    return best


def least_cost(model: nn.Module, example: Mapping[str, Tensor], *, round_to: int = 8, max_pruned: float = 0.75) -> Cost:
    """What the smallest model costs that `prune_channels` can leave with these limits."""
    working = _copied(model)
    groups = find_groups(working, example, working.fixed_layers())
    return CostModel.of(working, example, groups).at(least_widths(groups, round_to, max_pruned))


def _limits(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("round_to", "max_pruned") if name in options}


def _copied(model: nn.Module) -> Any:
    """A copy to measure on and to cut, in evaluation mode: a module that is `Prunable`.

    Raises:
        StageError: the model does not say what its widths are.
    """
    if not isinstance(model, Prunable):
        raise StageError(f"{type(model).__name__} cannot be pruned: it lacks fixed_layers and config_of_layers")
    return copy.deepcopy(model).eval()


def _rebuilt(cut: Any, kind: type[nn.Module]) -> nn.Module:
    """A model built from the config of the cut layers, with their weights: so it can be saved and loaded."""
    with torch.random.fork_rng(devices=[]):
        model = kind(cut.config_of_layers())
    model.load_state_dict(cut.state_dict())
    return model.eval()
