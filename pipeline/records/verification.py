"""`verify.json`: each variant's agreement with its source model and quality on the task. It holds no timing."""

from collections.abc import Mapping
from typing import Literal

from pipeline.layout import Engine, Variant
from pipeline.records.base import Part, Record
from pipeline.records.export import FileFacts, Precision, Reduction
from pipeline.records.step import Gain, Sensitivity


class Summary(Part):
    """Size and quality of a model; `None` where a black box does not tell."""

    params: int | None
    macs: int | None
    size_bytes: int | None
    quality: Mapping[str, float]


class StepSummary(Summary):
    """Size and quality after a step: `teacher`, `distill`, `prune`, `quantize`. Steps that are `none` are left out."""

    step: str


class CaseEntry(Part):
    """A case that the benchmark measures; its inputs are in inputs.safetensors.

    Attributes:
        shape: size of each axis that varies, `batch` first.
        before: whether one untimed call fills the state first.
    """

    name: str
    shape: Mapping[str, int]
    before: bool = False


class JudgedCase(Part):
    """A case that has budgets: a shape, and the threads that it runs on."""

    shape: Mapping[str, int]
    threads: int | Literal["all"]


class VerifiedVariant(Part):
    """One exported variant.

    Attributes:
        quality: the task's measures on held-out data.
        mean_cosine: with PyTorch's output, over examples; `None` where the output holds NaN.
        max_abs_error: relative to the length of PyTorch's row.
        problems: what is out of tolerance, one sentence each.
    """

    engine: Engine
    variant: Variant
    path: str
    files: Mapping[str, FileFacts]
    size_bytes: int
    precision: Precision
    reduction: Reduction | None
    quality: Mapping[str, float]
    mean_cosine: float | None
    max_abs_error: float | None
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """`engine variant`."""
        return f"{self.engine} {self.variant}"

    @property
    def verified(self) -> bool:
        """Whether it agrees with the model that it came from."""
        return not self.problems


class Verification(Record):
    """All variants of a model.

    Attributes:
        cases: what the benchmark measures.
        judged: the cases that have budgets, by their names in `budgets.cases`; a single `budgets.case` is "".
        skipped: for each engine, the precisions that it does not have, with the reason.
    """

    model: str
    task: str
    teacher: Summary
    student: Summary
    steps: tuple[StepSummary, ...]
    gains: Mapping[str, Gain]
    sensitivity_ratio: float | None
    sensitivity: tuple[Sensitivity, ...]
    cases: tuple[CaseEntry, ...]
    judged: Mapping[str, JudgedCase]
    variants: tuple[VerifiedVariant, ...]
    skipped: Mapping[Engine, Mapping[Variant, str]] = {}

    def find(self, engine: Engine, variant: Variant) -> VerifiedVariant | None:
        """The entry of a variant; `None` where it was not exported."""
        return next((one for one in self.variants if (one.engine, one.variant) == (engine, variant)), None)
