"""Accuracy-aware reduction: where quality falls too far, the layers at fault are found and kept in float.

Layers are ranked by the noise that the reduced precision adds in them. The worst one, two, four and so on are kept in
fp32 until the tolerance holds; then the search looks for the fewest that it holds with. A model whose first attempt
holds is not analysed at all.
"""

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from pipeline.engines.exporter import Calibration, Exporter, LayerError, NotAvailableError
from pipeline.engines.spec import ModelSpec
from pipeline.layout import Variant
from pipeline.records.export import KeptLayer, Reduction

Loss = Callable[[Path], float]


@dataclass(frozen=True)
class ReductionReport:
    """How a reduced variant came about.

    Attributes:
        loss: quality that it loses against the same engine's fp32, in the unit of the caller's measure.
        tolerance: what was allowed.
        attempts: files that were made and judged.
        kept_float: layers that stay in fp32, with the error that the reduced precision had in them; the worst first.
    """

    loss: float
    tolerance: float
    attempts: int
    kept_float: tuple[LayerError, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the loss is within the tolerance."""
        return self.loss <= self.tolerance

    def as_record(self) -> Reduction:
        """The same as a part of export.json; errors are shares of the layer's output."""
        kept = tuple(KeptLayer(layer=layer.name, error=round(layer.error, 6)) for layer in self.kept_float)
        return Reduction(
            loss=self.loss, tolerance=self.tolerance, attempts=self.attempts, holds=self.holds, kept_float=kept
        )


@dataclass(frozen=True)
class _Attempt:
    count: int
    loss: float
    file: Path


def quantize_within(
    target: Exporter,
    fp32: Path,
    spec: ModelSpec,
    calibration: Calibration,
    out: Path,
    *,
    precision: Variant,
    loss: Loss,
    tolerance: float,
    max_float_layers: int,
) -> ReductionReport:
    """Write a reduced variant with as few layers in float as the tolerance needs.

    Args:
        target: the engine.
        fp32: what its `export` wrote.
        spec: the spec of that export.
        calibration: as for `Exporter.quantize`.
        out: the file that the engine opens; what belongs to it is written beside it.
        precision: the variant to make.
        loss: how much worse a file is than `fp32`, in the task's measure on validation data; may be negative.
        tolerance: the largest loss that is accepted.
        max_float_layers: the most layers to keep in float; 0 forbids it.

    Returns:
        What was kept and what it loses. Where even `max_float_layers` do not reach the tolerance, `out` is the
        attempt that loses least and `holds` is false: the gate judges it.

    Raises:
        NotAvailableError: the engine has no such precision, or not for this model; `out` is not written.
        StageError: the quantizer refused the model.
    """
    if precision not in target.precisions:
        raise NotAvailableError(f"{target.name} has no {precision}")
    target.quantize(fp32, spec, calibration, out, precision=precision)
    plain = _Attempt(0, loss(out), out)
    if plain.loss <= tolerance or max_float_layers < 1:
        return ReductionReport(plain.loss, tolerance, attempts=1)
    ranked = target.layer_errors(fp32, out, spec, calibration)[:max_float_layers]
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:

        def attempt(count: int) -> _Attempt:
            file = Path(folder) / str(count) / out.name
            file.parent.mkdir()
            kept = [layer.name for layer in ranked[:count]]
            target.quantize(fp32, spec, calibration, file, precision=precision, keep_float=kept)
            return _Attempt(count, loss(file), file)

        attempts = _search(attempt, plain, len(ranked), tolerance)
        chosen = _choose(attempts, tolerance)
        if chosen.count:
            # Each file gets a new inode, because a session of the caller may still have the old one mapped.
            for path in chosen.file.parent.iterdir():
                path.replace(out.parent / path.name)
    return ReductionReport(chosen.loss, tolerance, len(attempts), tuple(ranked[: chosen.count]))


def _search(attempt: Callable[[int], _Attempt], plain: _Attempt, most: int, tolerance: float) -> list[_Attempt]:
    """Double the number of layers until the tolerance holds, then halve the interval below."""
    attempts = [plain]
    count = 1
    while not attempts[-1].loss <= tolerance and attempts[-1].count < most:
        attempts.append(attempt(min(count, most)))
        count *= 2
    if attempts[-1].loss <= tolerance:
        low, high = attempts[-2].count, attempts[-1].count
        while high - low > 1:
            middle = attempt((low + high) // 2)
            attempts.append(middle)
            low, high = (low, middle.count) if middle.loss <= tolerance else (middle.count, high)
    return attempts


def _choose(attempts: Collection[_Attempt], tolerance: float) -> _Attempt:
    """The fewest layers that hold; where none do, the smallest loss, and of equal ones the fewest layers."""
    holding = [attempt for attempt in attempts if attempt.loss <= tolerance]
    if holding:
        return min(holding, key=lambda attempt: attempt.count)
    return min(attempts, key=lambda attempt: (isnan(attempt.loss), attempt.loss, attempt.count))
