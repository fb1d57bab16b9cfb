"""The blocks of params.yaml of a model with `task: causal_lm`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.layout import Variant
from pipeline.params import blocks
from pipeline.params.case_checks import judged_cases
from pipeline.params.choices import BY_SOURCE
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.sources import FromGguf, FromHub, FromPackage, FromPath, Weights
from pipeline.params.values import (
    Block,
    Fraction,
    Inference,
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

Source = Annotated[FromPackage | FromGguf | FromPath | FromHub, BY_SOURCE]
# First tokens of a held-out text that are continued greedily, and how far.
GREEDY_PROMPT_TOKENS, GREEDY_TOKENS = 24, 32
# A figure that is better when it is lower, and has no upper end.
UpperBudget = PositiveFloat | Literal["none"]


class DataParams(Block):
    """Whole docstrings of the locked packages, or `text` from data/raw/.

    Attributes:
        share_of_files: of the packages' files that are read; all of the user's own are.
        train_bytes: of texts to train on at most; where nothing is trained, a few calibrate the engines.
        validation_documents: on which reduced precisions are judged while they are made.
        heldout_documents: on which quality is judged.
        judged_bytes: at which validation and held-out documents are cut, so that all models are judged on the same.
        holdout_fraction: share of the packages that are for evaluation.
    """

    source: Literal["docstrings", "text"]
    share_of_files: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    train_bytes: PositiveInt
    validation_documents: PositiveInt
    heldout_documents: PositiveInt
    judged_bytes: PositiveInt
    holdout_fraction: Share


class LabelParams(Block):
    """What the teacher says of training texts, in the student's tokens; see pipeline.compress.tokens.labels.

    Attributes:
        vocabulary: tokens of the student: the teacher's, trimmed to the frequent ones.
        bytes: of training texts that the teacher reads.
        top: the most probable tokens that are kept of each distribution.
        drawn: draws from the others, which stand for all of them.
    """

    vocabulary: PositiveInt
    bytes: PositiveInt
    top: PositiveInt
    drawn: PositiveInt


class TeacherParams(Weights):
    """The teacher: where its weights come from, and what it labels.

    Attributes:
        label: `none` where nothing is trained.
    """

    package_may_hold_gguf: ClassVar[bool] = True

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    label: OrNone[LabelParams]


class StudentParams(Block):
    """The student's architecture; widths in units of features."""

    architecture: Literal["decoder"]
    hidden_dim: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    ffn_dim: PositiveInt


class DistillParams(Block):
    """Training on a stream of texts, part of it with the teacher's distributions; see pipeline.compress.tokens.

    Attributes:
        tokens: to train on; a stream that is shorter is gone through again.
        windows: of a batch.
        window_tokens: of a window.
        pieces: into how many texts of their own each window is cut at first.
        whole_from: share of the training that goes before windows stay whole.
        learning_rate: of AdamW, which moves the table and the norms.
        matrix_rate: of Muon, which moves the matrices of the layers.
        precision: of the matrix products; weights and updates are f32.
        teacher_weight: of the teacher's distribution where there is one; the rest is the text's own next token.
        labelled_share: of a batch's windows, once labelled texts are mixed in.
        labelled_from: share of the training that goes before.
    """

    tokens: PositiveInt
    windows: PositiveInt
    window_tokens: PositiveInt
    pieces: PositiveInt
    whole_from: Fraction
    learning_rate: PositiveFloat
    matrix_rate: PositiveFloat
    warmup_fraction: Fraction
    weight_decay: NonNegativeFloat
    precision: Inference
    teacher_weight: Fraction
    labelled_share: Fraction
    labelled_from: Fraction

    @model_validator(mode="after")
    def _pieces_fill_a_window(self) -> "DistillParams":
        if self.window_tokens % self.pieces:
            raise ValueError(f"window_tokens {self.window_tokens} is not a multiple of pieces {self.pieces}")
        return self


class ExportParams(blocks.ExportParams):
    """How the exports are called, one text at a time.

    Attributes:
        tokens: the numbers of tokens a call that engines with fixed shapes serve: 1, and the pieces of a prompt.
        caches: the sizes of the cache that they serve. A text ends at the largest.
    """

    batch: Literal[1]
    tokens: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    caches: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class BudgetCase(blocks.BudgetCase):
    """A call whose latency is judged: so many tokens, when the cache holds those `before`."""

    tokens: PositiveInt
    before: NonNegativeInt

    def describe_shape(self) -> str:
        """The shape in words."""
        what = "1 token" if self.tokens == 1 else f"a prompt of {self.tokens} tokens"
        return f"{what} after {self.before}" if self.before else what


class QualityBudgets(Block):
    """What a model must foretell, and what a reduced precision may cost."""

    bits_per_byte: UpperBudget
    int8_bits_growth: UpperBudget = "none"
    int4_bits_growth: UpperBudget = "none"
    fp32_same_text: QualityBudget = "none"


class Budgets(blocks.Budgets):
    """What a release must keep to."""

    case: OrAbsent[BudgetCase] = None
    cases: OrAbsent[Mapping[str, BudgetCase]] = None
    quality: QualityBudgets


class ModelParams(blocks.ModelParams):
    """See `pipeline.params.blocks.ModelParams`."""

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("bits_per_byte", "Bits/byte", "bits that the model needs for a byte of held-out text; less is better"),
        Measure("next_token", "Next token", "how often the likeliest token is the one that comes", True),
        Measure("agreement", "Agreement", "how often the likeliest token is that of PyTorch in fp32"),
        Measure("same_text", "Same text", "how far greedy texts go before they leave PyTorch's, as a share"),
    )
    quality_checks: ClassVar[tuple[QualityCheck, ...]] = (
        QualityCheck("bits_per_byte", "bits per byte", "Bits per byte", "bits_per_byte", at_most=True),
        QualityCheck(
            "int8_bits_growth", "growth of bits per byte", "Bits added by int8", "bits_per_byte", "fp32 growth",
            Variant.INT8,
        ),
        QualityCheck(
            "int4_bits_growth", "growth of bits per byte", "Bits added by int4", "bits_per_byte", "fp32 growth",
            Variant.INT4,
        ),
        QualityCheck("fp32_same_text", "same greedy text", "Same text in fp32", "same_text", variant=Variant.FP32),
    )  # fmt: skip
    verb: ClassVar[Literal["encode", "classify", "generate"]] = "generate"
    example: ClassVar[str] = "1 token after 128"
    teacher_files: ClassVar[tuple[str, ...]] = ()

    task: Literal["causal_lm"]
    data: DataParams
    teacher: TeacherParams
    student: OrAbsent[StudentParams] = None
    distill: OrNone[DistillParams]
    prune: NoStep
    quantize: NoStep
    export: ExportParams
    budgets: Budgets

    def describe(self) -> str:
        """What is built, and how long a text may be."""
        student = self.student
        what = f"{student.layers} layers of {student.hidden_dim}" if student else "the teacher itself"
        return f"{what}, texts of up to {max(self.export.caches)} tokens, judged at {self.budgets.describe_cases()}"

    def device_facts(self) -> Mapping[str, Any]:
        """`context`: tokens at which a text ends."""
        return {"context": max(self.export.caches)}

    @classmethod
    def contradictions(cls, document: Document, model: KeyPath) -> Iterator[Problem]:
        """Calls that are not served, and a student without labels."""
        yield from _lengths(document, model)
        yield from _labels(document, model)


def _lengths(document: Document, model: KeyPath) -> Iterator[Problem]:
    tokens, caches = (_numbers(document, (*model, "export", key)) for key in ("tokens", "caches"))
    if tokens and 1 not in tokens:
        path = (*model, "export", "tokens")
        yield document.problem(path, "lacks 1: an answer is made token by token; add it")
    if not caches:
        return
    longest, needed = max(caches), GREEDY_PROMPT_TOKENS + GREEDY_TOKENS
    if longest < needed:
        message = f"goes up to {longest}, but verify reads texts of {needed} tokens: add a larger size"
        yield document.problem((*model, "export", "caches"), message)
    for case in judged_cases(document, model):
        yield from _case(document, case, longest)


def _case(document: Document, case: KeyPath, longest: int) -> Iterator[Problem]:
    count, before = (document.get((*case, key), int) for key in ("tokens", "before"))
    if count is None:
        return
    if count > longest:
        message = f"is {count}, but the largest of export.caches holds {longest}"
        yield document.problem((*case, "tokens"), message)
    elif before is not None and before + count > longest:
        message = f"is {before}, so the case ends at {before + count}, but the largest of export.caches holds {longest}"
        yield document.problem((*case, "before"), message)


def _labels(document: Document, model: KeyPath) -> Iterator[Problem]:
    path, distill = (*model, "teacher", "label"), (*model, "distill")
    if document.get(path, str) == "none" and document.get(distill, dict) is not None:
        message = "is none, but `distill` trains a student, whose vocabulary stands there: write the block"
        yield document.problem(path, message)
    if document.get(path, dict) is not None and document.get(distill, str) == "none":
        message = f"labels texts for a student, but distill is none{document.mention(distill)}: write `label: none`"
        yield document.problem(path, message)


def _numbers(document: Document, path: KeyPath) -> list[int]:
    return [one for one in document.get(path, list) or [] if isinstance(one, int) and not isinstance(one, bool)]
