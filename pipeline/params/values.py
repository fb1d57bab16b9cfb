"""What blocks of params.yaml are made of: bounded numbers, `none`, and the block itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from pipeline.params import choices

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# A part of a whole that is neither nothing nor all.
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Inference = Literal["f32", "bf16"]

# A budget is never left out by accident: `none` says that there is none.
Budget = PositiveFloat | Literal["none"]
QualityBudget = Fraction | Literal["none"]
# One budget, or one for each case by its name.
CaseBudget = Annotated[
    Annotated[Budget, choices.VALUE] | Annotated[Mapping[str, Budget], choices.NAMED], choices.BY_VALUE_OR_NAMES
]


class Block(BaseModel):
    """A block of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


B = TypeVar("B")


def _nothing(_: Any) -> None:
    return None


# A step of compression that is left out.
NoStep = Literal["none"]
# The block of a step, or `none`.
OrNone = Annotated[Annotated[B, choices.BLOCK] | Annotated[NoStep, choices.NONE], choices.BY_BLOCK_OR_NONE]
# The same of a block that is None for who reads it, so that leaving the key out means the same as `none`.
OrAbsent = Annotated[
    Annotated[B, choices.BLOCK] | Annotated[None, PlainValidator(_nothing), choices.NONE], choices.BY_BLOCK_OR_NONE
]


class ContradictionError(ValueError):
    """Blocks that do not fit together.

    `pipeline.params.checks` finds the same in a file and names the line; the schema raises this for values that come
    from elsewhere, and so that nothing passes if a check is forgotten.
    """
