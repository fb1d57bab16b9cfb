"""The blocks of params.yaml of a model with `task: image_classification`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.layout import Variant
from pipeline.params import blocks
from pipeline.params.blocks import TrainingParams
from pipeline.params.choices import BY_SOURCE
from pipeline.params.model_checks import trained_without_distill
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.sources import FromHub, FromOnnx, FromPath, FromSavedModel, Weights
from pipeline.params.values import (
    Block,
    Fraction,
    NonNegativeFloat,
    OrAbsent,
    OrNone,
    PositiveFloat,
    PositiveInt,
    QualityBudget,
    Sha256,
    Share,
)
from pipeline.params.yaml_lines import Document, KeyPath, Problem

Source = Annotated[FromPath | FromHub | FromSavedModel | FromOnnx, BY_SOURCE]
Option = int | float | bool | str

_STUDENTS = Path(__file__).parents[2] / "students"


def architectures() -> tuple[str, ...]:
    """The modules of pipeline/students/, by their file names; importing them would bring torch."""
    return tuple(sorted(path.stem for path in _STUDENTS.glob("[!_]*.py")))


class AugmentParams(Block):
    """How far a training image may be moved; see pipeline.images.augment."""

    shift: Fraction
    rotation_degrees: NonNegativeFloat
    zoom: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
    flip: bool


class DataParams(Block):
    """Images to train and to judge on: scikit-learn's `digits`, or `folder`, your own in data/raw/<folder>/."""

    source: Literal["digits", "folder"]
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    input_size: PositiveInt
    channels: Literal[1, 3]
    fit: Literal["crop", "stretch"]
    mean: tuple[Fraction, ...]
    std: tuple[PositiveFloat, ...]
    validation_fraction: Share
    heldout_fraction: Share
    augment: AugmentParams

    @model_validator(mode="after")
    def _consistent(self) -> "DataParams":
        if (self.source == "folder") == (self.folder == "none"):
            raise ValueError(
                f"source is {self.source} and folder {self.folder}: with `folder` name one of data/raw/, "
                "with `digits` write `folder: none`"
            )
        if self.source == "digits" and self.channels != 1:
            raise ValueError(f"channels is {self.channels}, but digits are grayscale: write `channels: 1`")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"mean has {len(self.mean)} and std {len(self.std)} values for {self.channels} channels: one a channel"
            )
        return self


class DesignParams(Block):
    """An architecture of pipeline/students/ and the options that its module offers."""

    architecture: str
    options: Mapping[str, Option]

    @model_validator(mode="after")
    def _known(self) -> "DesignParams":
        if self.architecture not in architectures():
            raise ValueError(
                f"architecture is {self.architecture!r}; pipeline/students/ has {', '.join(architectures())}"
            )
        return self


class TrainParams(DesignParams, TrainingParams):
    """A teacher that is trained from scratch on the labels."""

    label_smoothing: Fraction


class TeacherParams(Block):
    """The teacher: where its weights come from, with their checksum, or how it is trained here."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1)] | None = None
    sha256: Sha256 | None = None
    train: TrainParams | None = None
    copies: PositiveInt

    @model_validator(mode="after")
    def _one_way(self) -> "TeacherParams":
        given = [name for name in ("sources", "sha256", "train") if getattr(self, name) is not None]
        if given not in (["train"], ["sources", "sha256"]):
            raise ValueError(
                f"has {' and '.join(given) or 'nothing'}; either `sources` with their `sha256`, or `train`, is needed"
            )
        return self


class DistillParams(TrainingParams):
    """Knowledge distillation; see pipeline.compress.logits for the losses."""

    temperature: PositiveFloat
    teacher_weight: Fraction
    label_smoothing: Fraction
    feature_weight: NonNegativeFloat


class PruneParams(Block):
    """Structured channel pruning below ceilings of what the student may cost, then recovery."""

    max_params: PositiveInt | Literal["none"]
    max_macs: PositiveInt | Literal["none"]
    latency_ratio: Share | Literal["none"]
    epochs: NonNegativeFloat
    learning_rate: PositiveFloat

    @model_validator(mode="after")
    def _a_target(self) -> "PruneParams":
        if self.max_params == self.max_macs == self.latency_ratio == "none":
            raise ValueError("max_params, max_macs and latency_ratio are all `none`: at least one is a number")
        return self


class QuantizeParams(Block):
    """Fine-tuning with int8 rounding and the calibration set."""

    epochs: NonNegativeFloat
    learning_rate: PositiveFloat
    calibration_images: PositiveInt


class QualityBudgets(Block):
    """What must be left of the teacher's quality."""

    accuracy_kept: QualityBudget
    int8_accuracy_drop: QualityBudget
    int4_accuracy_drop: QualityBudget = "none"


class Budgets(blocks.Budgets):
    """What a release must keep to."""

    quality: QualityBudgets


class ModelParams(blocks.ModelParams):
    """See `pipeline.params.blocks.ModelParams`."""

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("accuracy", "Accuracy", "share of the held-out images whose highest logit is their class"),
        Measure("agreement", "Agreement", "share of the held-out images on which the teacher gives the same class"),
    )
    quality_checks: ClassVar[tuple[QualityCheck, ...]] = (
        QualityCheck("accuracy_kept", "accuracy kept of the teacher's", "Accuracy kept", "accuracy", "teacher"),
        QualityCheck("int8_accuracy_drop", "accuracy drop", "Accuracy lost to int8", "accuracy", "fp32", Variant.INT8),
        QualityCheck("int4_accuracy_drop", "accuracy drop", "Accuracy lost to int4", "accuracy", "fp32", Variant.INT4),
    )
    verb: ClassVar[Literal["encode", "classify", "generate"]] = "classify"
    example: ClassVar[str] = "one image"

    task: Literal["image_classification"]
    data: DataParams
    teacher: TeacherParams
    student: OrAbsent[DesignParams] = None
    distill: OrNone[DistillParams]
    prune: OrNone[PruneParams]
    quantize: OrNone[QuantizeParams]
    budgets: Budgets

    def pinned_teacher(self) -> Weights | None:
        """Where the teacher's weights lie; `None` where it is trained here."""
        if self.teacher.sources is None or self.teacher.sha256 is None:
            return None
        return Weights(sources=self.teacher.sources, sha256=self.teacher.sha256)

    def describe(self) -> str:
        """Architecture and size of the images."""
        size, colours = self.data.input_size, "grey" if self.data.channels == 1 else "colour"
        return f"{self._architecture()} for {size}x{size} {colours} images, judged at {self.budgets.describe_cases()}"

    def _architecture(self) -> str:
        if self.student is None:
            return "the teacher itself"
        options = ", ".join(f"{name} {value}" for name, value in self.student.options.items())
        return f"{self.student.architecture} ({options})" if options else self.student.architecture

    @classmethod
    def contradictions(cls, document: Document, model: KeyPath) -> Iterator[Problem]:
        """Fractions that leave nothing to train on, and training without its recipe."""
        for step, why in trained_without_distill(document, model):
            epochs = (*model, step, "epochs")
            if document.get(epochs, (int, float)):
                yield document.problem(epochs, f"{why}: write `epochs: 0`, or `{step}: none`")
        path = (*model, "data", "heldout_fraction")
        parts = [document.get((*model, "data", f"{name}_fraction"), (int, float)) for name in ("validation", "heldout")]
        if all(part is not None for part in parts) and sum(parts) >= 1:
            message = f"is {parts[1]}, and validation_fraction is {parts[0]}: nothing is left to train on"
            yield document.problem(path, message)
