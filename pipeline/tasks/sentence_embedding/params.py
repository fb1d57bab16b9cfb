"""The blocks of params.yaml of a model with `task: sentence_embedding`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.layout import CONFIG, TOKENIZER, Variant
from pipeline.params import blocks
from pipeline.params.blocks import TrainingParams
from pipeline.params.case_checks import judged_cases
from pipeline.params.choices import BY_SOURCE
from pipeline.params.model_checks import trained_without_distill
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.sources import FromHub, FromPackage, FromPath, FromSavedModel, Weights
from pipeline.params.values import (
    Block,
    NonNegativeFloat,
    NonNegativeInt,
    NoStep,
    OrAbsent,
    OrNone,
    PositiveFloat,
    PositiveInt,
    QualityBudget,
    Share,
)
from pipeline.params.yaml_lines import Document, KeyPath, Problem

Source = Annotated[FromPackage | FromPath | FromHub | FromSavedModel, BY_SOURCE]


class DataParams(Block):
    """Texts to train and to judge on; `docstrings` of the locked packages, or `text` from data/raw/."""

    source: Literal["docstrings", "text"]
    max_train_texts: PositiveInt
    validation_texts: PositiveInt
    heldout_texts: PositiveInt
    retrieval_pairs: NonNegativeInt
    holdout_fraction: Share


class TeacherParams(Weights):
    """The teacher: where its weights come from, and how it reads.

    Attributes:
        train_tokens: tokens at which training texts are cut; `none` where nothing is trained, so it reads none of them.
    """

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    max_tokens: PositiveInt
    train_tokens: PositiveInt | NoStep
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


class DistillParams(TrainingParams):
    """Knowledge distillation; see pipeline.compress.embeddings.distill for the loss."""

    similarity_weight: NonNegativeFloat
    temperature: PositiveFloat


class PruneParams(Block):
    """Structured pruning of what is wished for, and further until the student meets its ceilings; then recovery."""

    max_params: PositiveInt | Literal["none"]
    max_macs: PositiveInt | Literal["none"]
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


class ExportParams(blocks.ExportParams):
    """Shapes that the exports must serve: token lengths, and the batch of the throughput case."""

    lengths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class BudgetCase(blocks.BudgetCase):
    """The benchmark case whose latency and memory are judged."""

    length: PositiveInt

    def describe_shape(self) -> str:
        """The shape in words."""
        return f"batch {self.batch}, {self.length} tokens"


class QualityBudgets(Block):
    """What must be left of the teacher's quality."""

    fidelity_spearman: QualityBudget
    int8_fidelity_drop: QualityBudget
    int4_fidelity_drop: QualityBudget = "none"
    recall_at_1_kept: QualityBudget


class Budgets(blocks.Budgets):
    """What a release must keep to."""

    case: OrAbsent[BudgetCase] = None
    cases: OrAbsent[Mapping[str, BudgetCase]] = None
    quality: QualityBudgets


class ModelParams(blocks.ModelParams):
    """See `pipeline.params.blocks.ModelParams`."""

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            "fidelity_spearman",
            "Fidelity",
            "Spearman correlation of pairwise similarities with the teacher's, on held-out texts",
        ),
        Measure(
            "recall_at_1", "Recall@1", "how often a held-out summary line finds its own docstring's body first", True
        ),
        Measure("recall_at_10", "Recall@10", "how often it is among the first ten"),
    )
    quality_checks: ClassVar[tuple[QualityCheck, ...]] = (
        QualityCheck("fidelity_spearman", "fidelity", "Fidelity", "fidelity_spearman"),
        QualityCheck(
            "int8_fidelity_drop", "fidelity drop", "Fidelity lost to int8", "fidelity_spearman", "fp32", Variant.INT8
        ),
        QualityCheck(
            "int4_fidelity_drop", "fidelity drop", "Fidelity lost to int4", "fidelity_spearman", "fp32", Variant.INT4
        ),
        QualityCheck(
            "recall_at_1_kept",
            "recall@1 kept of the teacher's",
            "Recall@1 kept",
            "recall_at_1",
            "teacher",
            missing="was not measured: it needs data.retrieval_pairs above 0, or the budget `none`",
        ),
    )
    verb: ClassVar[Literal["encode", "classify", "generate"]] = "encode"
    example: ClassVar[str] = "32 tokens"
    teacher_files: ClassVar[tuple[str, ...]] = (CONFIG, TOKENIZER)

    task: Literal["sentence_embedding"]
    data: DataParams
    teacher: TeacherParams
    student: OrAbsent[StudentParams] = None
    distill: OrNone[DistillParams]
    prune: OrNone[PruneParams]
    quantize: OrNone[QuantizeParams]
    export: ExportParams
    budgets: Budgets

    def describe(self) -> str:
        """Layers, and the lengths that are served."""
        student, lengths = self.student, ", ".join(map(str, self.export.lengths))
        layers = f"{student.layers} layers of {student.hidden_dim}" if student else "the teacher itself"
        return f"{layers}, exported for {lengths} tokens, judged at {self.budgets.describe_cases()}"

    def device_facts(self) -> Mapping[str, Any]:
        """`max_tokens`: the number of tokens at which texts are cut."""
        readable = self.student.max_tokens if self.student else self.teacher.max_tokens
        return {"max_tokens": min(readable, max(self.export.lengths))}

    @classmethod
    def contradictions(cls, document: Document, model: KeyPath) -> Iterator[Problem]:
        """Lengths that contradict each other, steps without their recipe, and recall without pairs."""
        yield from _lengths(document, model)
        for step, why in trained_without_distill(document, model):
            yield document.problem((*model, step), f"{why}: write `{step}: none`")
        path = (*model, "budgets", "quality", "recall_at_1_kept")
        kept = document.get(path, (int, float))
        if kept is not None and document.get((*model, "data", "retrieval_pairs"), int) == 0:
            yield document.problem(path, f"is {kept}, but data.retrieval_pairs is 0: write `none`, or ask for pairs")


def _lengths(document: Document, model: KeyPath) -> Iterator[Problem]:
    path = (*model, "export", "lengths")
    lengths = [
        length for length in document.get(path, list) or [] if isinstance(length, int) and not isinstance(length, bool)
    ]
    if twice := sorted({length for length in lengths if lengths.count(length) > 1}):
        yield document.problem(path, f"has {', '.join(map(str, twice))} more than once: keep one")
    if lengths:
        yield from _case_lengths(document, model, lengths)
        yield from _readable(document, model, max(lengths))
    path = (*model, "teacher", "train_tokens")
    distilled, most = document.get(path, int), document.get((*model, "student", "max_tokens"), int)
    if document.get(path, str) == "none" and document.get((*model, "distill"), dict) is not None:
        yield document.problem(path, "is none, but `distill` trains on texts: write how many tokens of each it reads")
    if distilled is not None and most is not None and distilled > most:
        message = f"is {distilled}, but the student takes {most} (student.max_tokens): lower it to that"
        yield document.problem(path, message)


def _case_lengths(document: Document, model: KeyPath, lengths: Sequence[int]) -> Iterator[Problem]:
    for case in judged_cases(document, model):
        length = document.get((*case, "length"), int)
        if length is not None and length not in lengths:
            allowed = ", ".join(map(str, lengths))
            message = f"is {length}, a shape that is not exported: export.lengths has {allowed}"
            yield document.problem((*case, "length"), message)


def _readable(document: Document, model: KeyPath, longest: int) -> Iterator[Problem]:
    """The longest export against what the model can take; the teacher is the model where nothing is distilled."""
    has_student = document.get((*model, "student"), dict) is not None
    path = (*model, "student" if has_student else "teacher", "max_tokens")
    most = document.get(path, int)
    if most is not None and most < longest:
        message = f"is {most}, but export.lengths goes up to {longest}: raise it, or drop the longer lengths"
        yield document.problem(path, message)
