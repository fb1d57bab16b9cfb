"""The blocks that every model of params.yaml has; the schema narrows some of them by task.

One frozen class a block, unknown keys forbidden. The blocks of one task are in `pipeline/tasks/<task>/params.py`. The
whole file is `pipeline.params.schema`; `pipeline.params.file` reads it and reports all errors with their lines.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import create_model, model_validator

from pipeline.layout import CONFIG, Engine, Variant
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.sources import Weights
from pipeline.params.values import (
    Block,
    Budget,
    CaseBudget,
    ContradictionError,
    Fraction,
    Inference,
    NonNegativeFloat,
    NonNegativeInt,
    OrAbsent,
    OrNone,
    PositiveFloat,
    PositiveInt,
)
from pipeline.params.yaml_lines import Document, KeyPath, Problem


class TrainingParams(Block):
    """A training run: how long, in which steps, and how fast; see `pipeline.compress.training`."""

    epochs: PositiveFloat
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_fraction: Fraction
    weight_decay: NonNegativeFloat


class ExactStep(Block):
    """The step of the ladder whose weights are as they were trained.

    Attributes:
        inference: the type that everything which is not quantized is computed in.
    """

    inference: Inference


class ReducedStep(ExactStep):
    """A step with fewer bits: what it may cost, and what is done where it costs more.

    See `pipeline.engines.accuracy_aware`.
    """

    tolerance: Fraction
    max_float_layers: NonNegativeInt


class Ladder(Block):
    """The precisions that are exported, from the widest to the narrowest; fp32 is the first that others are held to.

    A step is released only while it is within its budgets and pays against the one before it.
    """

    fp32: ExactStep
    int8: ReducedStep | None = None
    int4: ReducedStep | None = None

    def reduced(self) -> Mapping[Variant, ReducedStep]:
        """The steps with fewer bits, by the variant that they make."""
        steps = {Variant.INT8: self.int8, Variant.INT4: self.int4}
        return {variant: step for variant, step in steps.items() if step is not None}

    def variants(self) -> tuple[Variant, ...]:
        """The student's variants, from the widest to the narrowest."""
        return (Variant.FP32, *self.reduced())

    def inference(self, variant: Variant) -> Inference:
        """What a variant computes in; the teacher as fp32 does."""
        step: ExactStep = self.reduced().get(variant, self.fp32)
        return step.inference


class ExportParams(Block):
    """What the exports must serve: the batch of the throughput case, and the ladder of precisions."""

    batch: PositiveInt
    ladder: Ladder


class Tolerance(Block):
    """How far an export may be from the PyTorch model it came from; see `pipeline.verify.compare`."""

    mean_cosine: Fraction
    max_abs_error: PositiveFloat


class VerifyParams(Block):
    """Tolerances, and how many held-out examples an export is compared on."""

    examples: PositiveInt
    teacher_examples: PositiveInt
    tolerances: Mapping[Variant, Tolerance]


class BudgetCase(Block):
    """A case of the benchmark whose latency and memory are judged; a task may add axes to `batch`."""

    batch: PositiveInt
    threads: PositiveInt | Literal["all"]

    def shape(self) -> dict[str, int]:
        """Size of every axis that a case may vary, by its name."""
        return {name: size for name, size in self.model_dump().items() if name != "threads"}

    def describe_shape(self) -> str:
        """The shape in words."""
        return f"batch {self.batch}"

    def describe(self) -> str:
        """Shape and threads in words, such as `batch 1, 32 tokens, 1 thread`."""
        threads = {"all": "all cores", 1: "1 thread"}.get(self.threads, f"{self.threads} threads")
        return f"{self.describe_shape()}, {threads}"


class EngineBudgets(Block):
    """Budgets of one engine's released variant; `p95_ms` has a number a case where `budgets.cases` names several."""

    p95_ms: CaseBudget
    size_bytes: Budget
    memory_bytes: Budget

    def p95_of(self, case: str) -> Budget:
        """The largest p95 in milliseconds of a case of `budgets.cases`; "" is the single `budgets.case`."""
        return self.p95_ms if not isinstance(self.p95_ms, Mapping) else self.p95_ms[case]


# One field an engine, so that a missing budget is named like every other key.
_FIELDS: dict[str, Any] = {engine.value: (EngineBudgets, ...) for engine in Engine}
_BudgetsOfEngines: Any = create_model("_BudgetsOfEngines", __base__=Block, **_FIELDS)


class Budgets(_BudgetsOfEngines):  # type: ignore[misc]  # a base that is made from the list of engines
    """What a release must keep to; every budget must be there, `none` where there is none.

    Attributes:
        case: the one case that is judged.
        cases: several, each with a name; exactly one of the two is there.
    """

    case: OrAbsent[BudgetCase] = None
    cases: OrAbsent[Mapping[str, BudgetCase]] = None
    params: Budget
    macs: Budget
    quality: Block

    @model_validator(mode="after")
    def _name_cases(self) -> "Budgets":
        if (self.case is None) == (not self.cases):
            raise ContradictionError("has both `case` and `cases`, or neither: write one of them")
        for engine in Engine:
            given = self.of(engine).p95_ms
            if isinstance(given, Mapping) and set(given) != set(self.judged()):
                raise ContradictionError(f"{engine}.p95_ms has other names than `cases`")
            if isinstance(given, float) and "" not in self.judged():
                raise ContradictionError(f"{engine}.p95_ms is one number, but there are several cases")
        return self

    def of(self, engine: Engine) -> EngineBudgets:
        """Budgets of `engine`."""
        budgets: EngineBudgets = getattr(self, engine.value)
        return budgets

    def describe_cases(self) -> str:
        """The judged shapes in words, each with the name of its case where there are several."""
        shapes = {name: case.describe_shape() for name, case in self.judged().items()}
        return "; ".join(f"{name}: {shape}" if name else shape for name, shape in shapes.items())

    def judged(self) -> Mapping[str, BudgetCase]:
        """The cases that are judged, by name; a single one is called ""."""
        return dict(self.cases) if self.cases else {} if self.case is None else {"": self.case}

    def leading_case(self) -> str:
        """The name of the case in which variants are compared with each other: the first."""
        return next(iter(self.judged()))


class ModelParams(Block):
    """One product: a teacher, the way to its student, and what the student must reach.

    A task's own class narrows the blocks and declares:

    Attributes:
        measures: of quality, the one that plots show first.
        quality_checks: one for each key of `budgets.quality`.
        verb: what a release does on a device.
        example: what the multiply-accumulates in reports are of.
        teacher_files: what a folder with a teacher's checkpoint must hold beside its weights.
    """

    measures: ClassVar[tuple[Measure, ...]] = ()
    quality_checks: ClassVar[tuple[QualityCheck, ...]] = ()
    verb: ClassVar[Literal["encode", "classify", "generate"]]
    example: ClassVar[str] = "one example"
    teacher_files: ClassVar[tuple[str, ...]] = (CONFIG,)

    task: str
    data: Block
    teacher: Block
    student: OrAbsent[Block] = None
    distill: OrNone[Block]
    prune: OrNone[Block]
    quantize: OrNone[Block]
    export: ExportParams
    verify: VerifyParams
    budgets: Budgets

    @model_validator(mode="after")
    def _fit_together(self) -> "ModelParams":
        if (self.distill == "none") != (self.student is None):
            raise ContradictionError("`distill` and `student` are either both there, or neither is")
        if set(self.verify.tolerances) != {Variant.TEACHER, *self.export.ladder.variants()}:
            raise ContradictionError("verify.tolerances is not for the teacher and each step of export.ladder")
        return self

    @property
    def compresses_only(self) -> bool:
        """Whether the teacher itself goes to export, untrained: its student is the teacher."""
        return self.distill == self.prune == self.quantize == "none"

    def pinned_teacher(self) -> Weights | None:
        """Where the teacher's weights lie; `None` where it is trained here."""
        return self.teacher if isinstance(self.teacher, Weights) else None

    def describe(self) -> str:
        """What is built, in a few words."""
        return "a model"

    def device_facts(self) -> Mapping[str, Any]:
        """What manifest.json of a release says beside the files, such as `max_tokens`."""
        return {}

    @classmethod
    def contradictions(cls, document: Document, model: KeyPath) -> Iterator[Problem]:
        """What the keys of a model must fulfil among each other; values of a wrong type are left to the schema."""
        yield from ()
