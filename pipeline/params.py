"""The schema of params.yaml: one frozen model a block, unknown keys forbidden.

Reading the file, with all errors at once and with their lines, is `pipeline.params_file`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.layout import Engine, Variant

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
# A budget is never left out by accident: `none` says that there is none.
Budget = PositiveFloat | Literal["none"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Block(BaseModel):
    """A block of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataParams(Block):
    """Texts to train and to judge on; `docstrings` of the locked packages, or `text` from data/raw/."""

    source: Literal["docstrings", "text"]
    max_train_texts: PositiveInt
    validation_texts: PositiveInt
    heldout_texts: PositiveInt
    retrieval_pairs: NonNegativeInt
    holdout_fraction: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class PackageSource(Block):
    """A checkpoint inside an installed Python package."""

    package: str


class PathSource(Block):
    """A local sentence-transformers or Hugging Face folder."""

    path: str


class HubSource(Block):
    """A repository of the Hugging Face Hub at a pinned revision."""

    hf: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class SavedModelSource(Block):
    """A black-box TensorFlow SavedModel with `tokenizer.json` in its folder; needs the extra `tensorflow`."""

    saved_model: str


Source = PackageSource | PathSource | HubSource | SavedModelSource


class TeacherParams(Block):
    """The teacher: where its weights come from, and the checksum that they must have."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    sha256: Sha256
    max_tokens: PositiveInt
    batch_tokens: PositiveInt


class StudentParams(Block):
    """The student's architecture; widths in units of features."""

    architecture: Literal["text_encoder"]
    embedding_dim: PositiveInt
    hidden_dim: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    ffn_dim: PositiveInt
    max_tokens: PositiveInt

    @model_validator(mode="after")
    def _heads_divide(self) -> "StudentParams":
        if self.hidden_dim % self.heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} is not a multiple of heads {self.heads}")
        return self


class DistillParams(Block):
    """Knowledge distillation; see pipeline.compress.distill for the loss."""

    epochs: PositiveFloat
    batch_size: PositiveInt
    max_tokens: PositiveInt
    learning_rate: PositiveFloat
    warmup_fraction: Fraction
    weight_decay: NonNegativeFloat
    similarity_weight: NonNegativeFloat
    temperature: PositiveFloat


class PruneParams(Block):
    """Structured pruning, then recovery."""

    vocabulary_min_count: NonNegativeInt
    ffn_ratio: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
    epochs: NonNegativeFloat
    learning_rate: PositiveFloat
    contrast_weight: NonNegativeFloat
    contrast_temperature: PositiveFloat


class QuantizeParams(Block):
    """Quantization-aware fine-tuning and the calibration set."""

    epochs: NonNegativeFloat
    learning_rate: PositiveFloat
    calibration_texts: PositiveInt


class ExportParams(Block):
    """Shapes that the exports must serve: token lengths, and the batch of the throughput case."""

    lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    batch: PositiveInt


class Tolerance(Block):
    """How far an export may be from the PyTorch model it came from, on unit-length outputs."""

    mean_cosine: Fraction
    max_abs_error: PositiveFloat


class VerifyParams(Block):
    """How many texts an export is compared on, and its tolerances."""

    texts: PositiveInt
    teacher_texts: PositiveInt
    tolerances: Mapping[Variant, Tolerance]

    @model_validator(mode="after")
    def _every_variant(self) -> "VerifyParams":
        if missing := [str(v) for v in Variant if v not in self.tolerances]:
            raise ValueError(f"tolerances lacks {', '.join(missing)}")
        return self


class BudgetCase(Block):
    """The benchmark case whose latency and memory are judged."""

    batch: PositiveInt
    length: PositiveInt
    threads: PositiveInt | Literal["all"]


class QualityBudgets(Block):
    """What must be left of the teacher's quality."""

    fidelity_spearman: Fraction | Literal["none"]
    int8_fidelity_drop: Fraction | Literal["none"]
    recall_at_1_kept: Fraction | Literal["none"]


class EngineBudgets(Block):
    """Budgets of one engine's released variant."""

    p95_ms: Budget
    size_bytes: Budget
    memory_bytes: Budget


class Budgets(Block):
    """What a release must keep to; every key must be there, `none` where there is no budget."""

    case: BudgetCase
    params: Budget
    quality: QualityBudgets
    onnxruntime: EngineBudgets
    openvino: EngineBudgets
    tflite: EngineBudgets

    def of(self, engine: Engine) -> EngineBudgets:
        """Budgets of `engine`."""
        budgets: EngineBudgets = getattr(self, engine.value)
        return budgets


class ModelParams(Block):
    """One product: a teacher, the way to its student, and what the student must reach."""

    task: Literal["sentence-embedding"]
    data: DataParams
    teacher: TeacherParams
    student: StudentParams
    distill: DistillParams
    prune: PruneParams
    quantize: QuantizeParams
    export: ExportParams
    verify: VerifyParams
    budgets: Budgets


class BenchmarkParams(Block):
    """How the benchmark measures; see pipeline.benchmark."""

    lane_cores: PositiveInt
    blocks: PositiveInt
    warmup_runs: NonNegativeInt
    block_seconds: PositiveFloat
    max_block_runs: PositiveInt
    load_timeout_s: PositiveFloat


class Params(Block):
    """The whole of params.yaml."""

    seed: NonNegativeInt
    fleet: Annotated[tuple[str, ...], Field(min_length=1)]
    toolchain: Mapping[Literal["training", "onnxruntime", "openvino", "tflite"], Mapping[str, str | int]]
    models: Mapping[str, ModelParams]
    benchmark: BenchmarkParams
