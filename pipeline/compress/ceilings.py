"""The most that a pruned model may cost: pruning ends below it on every machine, or says why it cannot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor, nn

from pipeline import cost
from pipeline.cost import Cost
from pipeline.errors import InputError, StageError


@dataclass(frozen=True)
class Ceilings:
    """The most parameters, and the most multiply-accumulates of one call; `None` where there is no limit."""

    max_params: int | None = None
    max_macs: int | None = None

    @classmethod
    def written(cls, max_params: int | Literal["none"], max_macs: int | Literal["none"]) -> Self:
        """Make ceilings of two values of params.yaml, which writes `none` for no limit."""
        return cls(*(None if value == "none" else value for value in (max_params, max_macs)))

    def excess(self, now: Cost) -> Cost:
        """How far `now` is above the ceilings; 0 where it is not."""
        limits = (self.max_params, self.max_macs)
        return Cost(*(0 if most is None else max(0, value - most) for value, most in zip(now, limits, strict=True)))

    def met_by(self, now: Cost) -> bool:
        """Whether `now` is at most the ceilings."""
        return not any(self.excess(now))

    def progress(self, now: Cost, after: Cost) -> float:
        """How much of the excess goes from `now` to `after`: the sum of both shares, 0 to 2.

        Savings below a ceiling count nothing, so a step earns no more than is needed.
        """
        pairs = zip(self.excess(now), self.excess(after), strict=True)
        return sum((above - left) / above for above, left in pairs if above)

    def require_reachable(self, least: Cost, before: Cost, limits: str) -> None:
        """Refuse ceilings that pruning cannot reach.

        Args:
            least: cost of the smallest model that pruning may leave.
            before: cost of the model that is pruned.
            limits: what keeps it from being smaller, in words.

        Raises:
            InputError: with the keys that are too low, and how far pruning can go.
        """
        missed = {
            f"prune.{key}": (getattr(self, key), floor)
            for key, above, floor in zip(("max_params", "max_macs"), self.excess(least), least, strict=True)
            if above
        }
        if missed:
            asked = " and ".join(f"{key} {limit:,}" for key, (limit, _) in missed.items())
            remedy = " and ".join(f"{key} to {floor:,} or more" for key, (_, floor) in missed.items())
            raise InputError(
                f"{asked} cannot be reached: pruned as far as it goes, the student still has {least} (now {before}), "
                f"because {limits}. Raise {remedy}, or distil a smaller student"
            )

    def require_met(self, model: nn.Module, example: Mapping[str, Tensor]) -> Cost:
        """What the pruned `model` costs in one call on `example`.

        Raises:
            StageError: it is above a ceiling: what pruning expected is not what the model has.
        """
        counted = cost.count(model, example)
        if not self.met_by(counted):
            raise StageError(
                f"the pruned {type(model).__name__} has {counted}, and the ceilings are {self.max_params} and "
                f"{self.max_macs}: pruning counts this architecture wrongly, which is a defect of pipeline/compress"
            )
        return counted
