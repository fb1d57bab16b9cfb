"""`export.json`: the variants of one engine, with their files and the precision that they compute in."""

from collections.abc import Mapping

from pipeline.layout import Engine, Variant
from pipeline.records.base import Part, Record


class FileFacts(Part):
    """A file as it was written."""

    sha256: str
    size_bytes: int


class Precision(Part):
    """See `pipeline.runtime.session.Precision`."""

    weights: str
    activations: str
    inference: str
    cache: str


class KeptLayer(Part):
    """A layer that stays in float, and the error that the reduced precision had in it."""

    layer: str
    error: float


class Reduction(Part):
    """How a reduced variant came about; see `pipeline.engines.accuracy_aware.ReductionReport`.

    Attributes:
        loss: quality that it loses against the same engine's fp32, in the task's measure on validation data.
        tolerance: what was allowed.
        attempts: variants that were made and judged.
        holds: whether the loss is within the tolerance.
        kept_float: the layers that stay in float, the worst first.
    """

    loss: float
    tolerance: float
    attempts: int
    holds: bool
    kept_float: tuple[KeptLayer, ...]


class ExportedVariant(Part):
    """One variant; `path` is what the engine opens, relative to the workspace, and `files` lie beside it."""

    path: str
    files: Mapping[str, FileFacts]
    size_bytes: int
    precision: Precision
    reduction: Reduction | None = None


class Export(Record):
    """The exports of one model to one engine.

    Attributes:
        toolchain: versions and settings that made it.
        variants: in the order of the ladder, the teacher first where there is one.
        skipped: precisions that were asked for and that this engine does not have, with the reason.
    """

    engine: Engine
    toolchain: Mapping[str, str | int]
    variants: Mapping[Variant, ExportedVariant]
    skipped: Mapping[Variant, str] = {}
