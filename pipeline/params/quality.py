"""What a task measures, and how its budgets judge it: declared in the task's params.py, read by gate and report."""

from dataclasses import dataclass
from typing import Literal

from pipeline.layout import Variant


@dataclass(frozen=True)
class Measure:
    """A measure of quality as verify writes it.

    Attributes:
        key: its name in verify.json.
        title: at the head of a column.
        meaning: half a sentence for report and model card.
        plotted: whether the report plots it against latency, where all variants have it; else the first is plotted.
    """

    key: str
    title: str
    meaning: str
    plotted: bool = False


@dataclass(frozen=True)
class QualityCheck:
    """A budget of `budgets.quality` and what it judges.

    Attributes:
        key: of the budget.
        label: behind the variant's name in messages.
        title: of its bar in the report.
        measure: key of the measure.
        against: `nothing`: the measure itself; `teacher`: its share of the teacher's; `fp32`: how much lower it is
            than that of the same engine's fp32; `fp32 growth`: how much higher it is, as a share of it.
        variant: the one variant that is judged; `None` judges all of the student.
        missing: what to say where there is no number.
        at_most: whether a budget of the measure itself is an upper bound, because less of it is better.
    """

    key: str
    label: str
    title: str
    measure: str
    against: Literal["nothing", "teacher", "fp32", "fp32 growth"] = "nothing"
    variant: Variant | None = None
    missing: str = "was not measured"
    at_most: bool = False

    @property
    def at_least(self) -> bool:
        """Whether the budget is a lower bound; a drop and a growth have an upper one."""
        return not self.at_most and self.against not in ("fp32", "fp32 growth")
