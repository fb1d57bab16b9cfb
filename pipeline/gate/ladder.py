"""The ladder of precisions on one engine: which step ships, and which is the nearest where none may."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from pipeline.gate.statistics import paired_speed_ratio
from pipeline.layout import Variant
from pipeline.records.verdict import Check, Outcome


@dataclass(frozen=True)
class Candidate:
    """One step of the ladder.

    Attributes:
        checks: against every budget.
        size_bytes: of its files; `None` where it was not exported.
        block_p50_ms: p50 latency of each block in the leading case; `None` where it was not measured.
    """

    variant: Variant
    checks: tuple[Check, ...]
    size_bytes: int | None
    block_p50_ms: tuple[float, ...] | None

    @property
    def outcome(self) -> Outcome:
        """The worst of its checks."""
        return worst(check.verdict for check in self.checks)

    def missed(self) -> tuple[Check, ...]:
        """The checks that are not PASS."""
        return tuple(check for check in self.checks if check.verdict is not Outcome.PASS)

    def gains_over(self, other: "Candidate") -> tuple[float, float] | None:
        """How many times smaller and how many times as fast it is; `None` where one of the two was not measured."""
        if self.size_bytes is None or self.block_p50_ms is None or other.size_bytes is None or not other.block_p50_ms:
            return None
        return other.size_bytes / self.size_bytes, paired_speed_ratio(other.block_p50_ms, self.block_p50_ms)

    def pays_over(self, other: "Candidate") -> bool:
        """Whether it is known to be both smaller and faster."""
        gains = self.gains_over(other)
        return gains is not None and min(gains) > 1


def choose(ladder: Sequence[Candidate]) -> Variant | None:
    """Choose what ships on an engine: the last step that is taken down the ladder, or nothing."""
    taken = steps_taken(ladder)
    return taken[-1].variant if taken else None


def steps_taken(ladder: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Go down the ladder, and take each step that keeps all budgets and pays against the last one taken.

    The first step that keeps all budgets is taken in any case. Where no step is known to keep them, those whose
    measurement is inconclusive are gone through in the same way. A step that fails is never taken.

    Args:
        ladder: from the widest precision to the narrowest.
    """
    for wanted in (Outcome.PASS, Outcome.INCONCLUSIVE):
        taken: list[Candidate] = []
        for step in ladder:
            if step.outcome is wanted and (not taken or step.pays_over(taken[-1])):
                taken.append(step)
        if taken:
            return tuple(taken)
    return ()


def nearest(ladder: Sequence[Candidate]) -> Candidate:
    """The step with the fewest failing checks; among equals the one that misses by less, then the narrowest.

    A step that lacks a number is taken only where all do.
    """

    def distance(step: Candidate) -> tuple[int, float]:
        failed = [check for check in step.checks if check.verdict is Outcome.FAIL]
        fractions = [inf if check.margin_fraction is None else -check.margin_fraction for check in failed]
        return len(failed), max(fractions, default=0.0)

    measured = [step for step in ladder if all(check.observed is not None for check in step.checks)]
    return min(reversed(measured or ladder), key=distance)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """FAIL before INCONCLUSIVE before PASS; PASS when there are none."""
    found = set(outcomes)
    return next((one for one in (Outcome.FAIL, Outcome.INCONCLUSIVE) if one in found), Outcome.PASS)
