"""The blocks of params.yaml of a model with `task: causal_lm`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pipeline.layout import Variant
from pipeline.params import blocks
from pipeline.params.case_checks import judged_cases
from pipeline.params.choices import BY_SOURCE
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.sources import FromGguf, FromHub, FromPackage, FromPath, Weights
from pipeline.params.values import (
    Block,
    NonNegativeInt,
    NoStep,
    OrAbsent,
    PositiveFloat,
    PositiveInt,
    QualityBudget,
    Share,
)
from pipeline.params.yaml_lines import Document, KeyPath, Problem

Source = Annotated[FromPackage | FromGguf | FromPath | FromHub, BY_SOURCE]
# A figure that is better when it is lower, and has no upper end.
UpperBudget = PositiveFloat | Literal["none"]


class DataParams(Block):
    """Whole docstrings of the locked packages, or `text` from data/raw/.

    Attributes:
        share_of_files: of the packages' files that are read; all of the user's own are.
        train_bytes: of texts to train on at most; where nothing is trained, a few calibrate the engines.
        validation_documents: on which reduced precisions are judged while they are made.
        heldout_documents: on which quality is judged.
        judged_tokens: tokens at which an evaluated text is cut, the start token included.
        holdout_fraction: share of the packages that are for evaluation.
    """

    source: Literal["docstrings", "text"]
    share_of_files: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    train_bytes: PositiveInt
    validation_documents: PositiveInt
    heldout_documents: PositiveInt
    judged_tokens: PositiveInt
    holdout_fraction: Share


class TeacherParams(Weights):
    """The teacher: where its weights come from."""

    package_may_hold_gguf: ClassVar[bool] = True

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]


class ExportParams(blocks.ExportParams):
    """How the exports are called, one text at a time.

    Attributes:
        tokens: the numbers of tokens a call that engines with fixed shapes serve: 1, and the pieces of a prompt.
        caches: the sizes of the cache that they serve. A text ends at the largest.
    """

    batch: Literal[1]
    tokens: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    caches: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class VerifyParams(blocks.VerifyParams):
    """How exports are compared with PyTorch.

    Attributes:
        greedy_texts: held-out texts whose first tokens are continued, token by token.
        greedy_tokens: how far.
    """

    greedy_texts: PositiveInt
    greedy_tokens: PositiveInt


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
    student: OrAbsent[Block] = None
    distill: NoStep
    prune: NoStep
    quantize: NoStep
    export: ExportParams
    verify: VerifyParams
    budgets: Budgets

    def describe(self) -> str:
        """What is built, and how long a text may be."""
        return f"the teacher itself, texts of up to {max(self.export.caches)} tokens, judged at " + (
            self.budgets.describe_cases()
        )

    def device_facts(self) -> Mapping[str, Any]:
        """`context`: tokens at which a text ends."""
        return {"context": max(self.export.caches)}

    @classmethod
    def contradictions(cls, document: Document, model: KeyPath) -> Iterator[Problem]:
        """Calls that are not served, and texts that no cache holds."""
        yield from _lengths(document, model)


def _lengths(document: Document, model: KeyPath) -> Iterator[Problem]:
    tokens, caches = (_numbers(document, (*model, "export", key)) for key in ("tokens", "caches"))
    if tokens and 1 not in tokens:
        path = (*model, "export", "tokens")
        yield document.problem(path, "lacks 1: an answer is made token by token; add it")
    if not caches:
        return
    longest = max(caches)
    for path in [(*model, "data", "judged_tokens"), *((*case, "tokens") for case in judged_cases(document, model))]:
        wanted = document.get(path, int)
        if wanted is not None and wanted > longest:
            yield document.problem(path, f"is {wanted}, but the largest of export.caches holds {longest}")


def _numbers(document: Document, path: KeyPath) -> list[int]:
    return [one for one in document.get(path, list) or [] if isinstance(one, int) and not isinstance(one, bool)]
