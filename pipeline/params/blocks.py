"""The schema of params.yaml: one frozen model a block, unknown keys forbidden.

Here is what every task has; the blocks of one task are in `pipeline/tasks/<task>/params.py`, and a model's `task`
decides which serve. Reading the file, with all errors at once and with their lines, is `pipeline.params.file`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.layout import CONFIG, Engine, Variant
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.yaml_lines import Document, KeyPath, Problem

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
# A budget is never left out by accident: `none` says that there is none.
Budget = PositiveFloat | Literal["none"]
QualityBudget = Fraction | Literal["none"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Inference = Literal["f32", "bf16"]
# A step of compression that is left out.
NoStep = Literal["none"]


class Block(BaseModel):
    """A block of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PackageSource(Block):
    """A checkpoint inside an installed Python package."""

    package: str


class PathSource(Block):
    """A local folder with a checkpoint: `config.json` and `model.safetensors`, and what the task needs besides."""

    path: str


class HubSource(Block):
    """A repository of the Hugging Face Hub at a pinned revision."""

    hf: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class SavedModelSource(Block):
    """A black-box TensorFlow SavedModel in a folder; needs the extra `tensorflow`."""

    saved_model: str


class OnnxSource(Block):
    """A black-box ONNX model: one file."""

    onnx: str


Source = PackageSource | PathSource | HubSource | SavedModelSource | OnnxSource


class Weights(Block):
    """Where weights come from, and the checksum that they must have."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    sha256: Sha256


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

    p95_ms: Budget | Mapping[str, Budget]
    size_bytes: Budget
    memory_bytes: Budget

    def p95_of(self, case: str) -> Budget:
        """The largest p95 in milliseconds of a case of `budgets.cases`; "" is the single `budgets.case`."""
        return self.p95_ms if not isinstance(self.p95_ms, Mapping) else self.p95_ms[case]


class Budgets(Block):
    """What a release must keep to; every budget must be there, `none` where there is none.

    Attributes:
        case: the one case that is judged.
        cases: several, each with a name; given instead of `case`.
    """

    case: BudgetCase | None = None
    cases: Mapping[str, BudgetCase] | None = None
    params: Budget
    macs: Budget
    quality: Block
    onnxruntime: EngineBudgets
    openvino: EngineBudgets
    tflite: EngineBudgets

    @model_validator(mode="after")
    def _named_once(self) -> "Budgets":
        if (self.case is None) == (not self.cases):
            raise ValueError("has both `case` and `cases`, or neither: write one of them")
        for engine in Engine:
            given = self.of(engine).p95_ms
            names = set(given) if isinstance(given, Mapping) else {""}
            if names != set(self.judged()):
                raise ValueError(_case_names(engine, names, set(self.judged())))
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


def _case_names(engine: Engine, given: set[str], wanted: set[str]) -> str:
    if wanted == {""}:
        return f"{engine}.p95_ms has numbers for {', '.join(sorted(given))}, but there is one `case`: write one number"
    if given == {""}:
        return f"{engine}.p95_ms is one number, but `cases` has {', '.join(sorted(wanted))}: write one for each"
    return f"{engine}.p95_ms is for {', '.join(sorted(given))}, but `cases` has {', '.join(sorted(wanted))}"


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
    student: Block | None = None
    distill: Block | NoStep
    prune: Block | NoStep
    quantize: Block | NoStep
    export: ExportParams
    verify: VerifyParams
    budgets: Budgets

    @model_validator(mode="after")
    def _fits_together(self) -> "ModelParams":
        if self.distill == "none" and self.student is not None:
            raise ValueError("distill is none, so the teacher itself is compressed: remove the block `student`")
        if self.distill != "none" and self.student is None:
            raise ValueError(
                "lacks `student`: write what is distilled into, or `distill: none` to compress the teacher"
            )
        wanted = {Variant.TEACHER, *self.export.ladder.variants()}
        if (given := set(self.verify.tolerances)) != wanted:
            names = ", ".join(variant for variant in Variant if variant in wanted)
            had = ", ".join(variant for variant in Variant if variant in given)
            raise ValueError(f"verify.tolerances is for {had}, but the teacher and export.ladder make {names}")
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
