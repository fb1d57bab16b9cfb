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


class Int8Params(Block):
    """What int8 may cost, and what is done where it costs more; see pipeline.engines.accuracy_aware."""

    tolerance: Fraction
    max_float_layers: NonNegativeInt


class ExportParams(Block):
    """What the exports must serve: the batch of the throughput case, and int8 within its tolerance."""

    batch: PositiveInt
    int8: Int8Params


class Tolerance(Block):
    """How far an export may be from the PyTorch model it came from; see pipeline.verify.compare."""

    mean_cosine: Fraction
    max_abs_error: PositiveFloat


class VerifyParams(Block):
    """Tolerances, and how many held-out examples an export is compared on."""

    examples: PositiveInt
    teacher_examples: PositiveInt
    tolerances: Mapping[Variant, Tolerance]

    @model_validator(mode="after")
    def _every_variant(self) -> "VerifyParams":
        if missing := [str(v) for v in Variant if v not in self.tolerances]:
            raise ValueError(f"tolerances lacks {', '.join(missing)}")
        return self


class BudgetCase(Block):
    """The benchmark case whose latency and memory are judged; a task may add axes to `batch`."""

    batch: PositiveInt
    threads: PositiveInt | Literal["all"]

    def shape(self) -> dict[str, int]:
        """Size of every axis that a case may vary, by its name."""
        return {name: size for name, size in self.model_dump().items() if name != "threads"}

    def describe_shape(self) -> str:
        """The shape in words."""
        return f"batch {self.batch}"


class EngineBudgets(Block):
    """Budgets of one engine's released variant."""

    p95_ms: Budget
    size_bytes: Budget
    memory_bytes: Budget


class Budgets(Block):
    """What a release must keep to; every key must be there, `none` where there is no budget."""

    case: BudgetCase
    params: Budget
    quality: Block
    onnxruntime: EngineBudgets
    openvino: EngineBudgets
    tflite: EngineBudgets

    def of(self, engine: Engine) -> EngineBudgets:
        """Budgets of `engine`."""
        budgets: EngineBudgets = getattr(self, engine.value)
        return budgets


class ModelParams(Block):
    """One product: a teacher, the way to its student, and what the student must reach.

    A task's own class narrows the blocks and declares:

    Attributes:
        measures: of quality, the one that plots show first.
        quality_checks: one for each key of `budgets.quality`.
        example: what the multiply-accumulates in reports are of.
        teacher_files: what a folder with a teacher's checkpoint must hold beside its weights.
    """

    measures: ClassVar[tuple[Measure, ...]] = ()
    quality_checks: ClassVar[tuple[QualityCheck, ...]] = ()
    example: ClassVar[str] = "one example"
    teacher_files: ClassVar[tuple[str, ...]] = (CONFIG,)

    task: str
    data: Block
    teacher: Block
    student: Block
    distill: Block
    prune: Block
    quantize: Block
    export: ExportParams
    verify: VerifyParams
    budgets: Budgets

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
