"""How many channels each group keeps so that the model comes below its ceilings, and which."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.compress.ceilings import Ceilings
from pipeline.compress.channels.costs import CostModel
from pipeline.compress.channels.groups import Group

_LEAST_SENSITIVITY = 0.05  # of the median group's


def choose(
    groups: Sequence[Group],
    costs: CostModel,
    ceilings: Ceilings,
    sensitivities: Mapping[str, float] | None,
    *,
    round_to: int,
    max_pruned: float,
) -> dict[str, Tensor]:
    """Indices of the channels that stay, int64 ascending, by the group's name.

    Greedy: each step removes the `round_to` channels that cost the least importance for their share of what is still
    above the ceilings. So the search ends below both, whatever the importances are.

    Raises:
        InputError: the ceilings are lower than `max_pruned` and `round_to` allow.
    """
    widths = {group.name: group.width for group in groups}
    least = least_widths(groups, round_to, max_pruned)
    limits = f"a group of channels loses at most {max_pruned:.0%} and keeps a multiple of {round_to}"
    ceilings.require_reachable(costs.at(least), costs.at(widths), limits)
    weights = _weights(groups, sensitivities)
    lost = {group.name: torch.cat([torch.zeros(1), group.importance.sort().values.cumsum(0)]) for group in groups}

    def price(group: Group) -> float:
        """Importance that the next channels of a group cost for the progress that they make."""
        width, narrower = widths[group.name], _narrower(widths[group.name], round_to)
        if narrower < least[group.name]:
            return math.inf
        made = ceilings.progress(now, costs.at({**widths, group.name: narrower}))
        gone = float(lost[group.name][group.width - narrower] - lost[group.name][group.width - width])
        return weights[group.name] * gone / made if made else math.inf

    while not ceilings.met_by(now := costs.at(widths)):
        cheapest = min(groups, key=price).name
        widths[cheapest] = _narrower(widths[cheapest], round_to)
    order = {group.name: group.importance.argsort(descending=True, stable=True) for group in groups}
    return {name: order[name][:width].sort().values for name, width in widths.items()}


def _weights(groups: Sequence[Group], sensitivities: Mapping[str, float] | None) -> dict[str, float]:
    """What a channel of mean importance counts in each group: its share of the measured rise of the loss."""
    risen = sorted(value for value in (sensitivities or {}).values() if value > 0)
    if sensitivities is None or not risen:
        return {group.name: 1.0 for group in groups}
    # A group whose loss even falls is not free: the measurement is on few data, and half of it is still there.
    floor = _LEAST_SENSITIVITY * risen[len(risen) // 2]
    return {group.name: max(sensitivities[group.name], floor) / group.width for group in groups}


def least_widths(groups: Sequence[Group], round_to: int, max_pruned: float) -> dict[str, int]:
    """The smallest width that pruning may leave, by the group's name: a multiple of `round_to`, or what it has now."""
    rounded = {group.name: math.ceil(group.width * (1 - max_pruned) / round_to) * round_to for group in groups}
    return {group.name: min(group.width, max(rounded[group.name], round_to)) for group in groups}


def _narrower(width: int, round_to: int) -> int:
    return (width - 1) // round_to * round_to
