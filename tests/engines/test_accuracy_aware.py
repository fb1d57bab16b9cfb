from collections.abc import Callable, Collection
from math import nan
from pathlib import Path

import pytest

from pipeline.engines.accuracy_aware import ReductionReport, quantize_within
from pipeline.engines.exporter import Calibration, Exporter, Inference, LayerError, NotAvailableError
from pipeline.engines.spec import ModelSpec
from pipeline.layout import Engine, Variant
from pipeline.runtime.session import Precision

ERRORS = [
    LayerError(name, error) for name, error in zip("abcdefgh", (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.0), strict=True)
]


class Recorded:
    """An exporter without int4, whose int8 file lists the layers in float; it remembers what it was asked."""

    name = Engine.ONNXRUNTIME
    precisions = frozenset({Variant.INT8})

    def __init__(self) -> None:
        self.ranked = 0

    def export(self, *arguments: object, **settings: object) -> None:
        raise NotImplementedError

    def quantize(
        self,
        fp32: Path,
        spec: ModelSpec,
        calibration: Calibration,
        out: Path,
        *,
        precision: Variant,
        keep_float: Collection[str] = (),
    ) -> None:
        assert precision is Variant.INT8
        out.write_text("".join(keep_float))
        out.with_suffix(".bin").write_text(f"weights of {out.read_text()}")

    def precision_of(self, file: Path, variant: Variant, spec: ModelSpec, inference: Inference) -> Precision:
        raise NotImplementedError

    def layer_errors(self, fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        self.ranked += 1
        return ERRORS


Judge = Callable[[Path], float]


def _run(
    spec: ModelSpec, out: Path, loss: Judge, tolerance: float, max_float_layers: int = 16
) -> tuple[ReductionReport, Recorded]:
    recorded = Recorded()
    target: Exporter = recorded
    made = quantize_within(
        target,
        out,
        spec,
        {},
        out,
        precision=Variant.INT8,
        loss=loss,
        tolerance=tolerance,
        max_float_layers=max_float_layers,
    )
    return made, recorded


def _needs(count: int) -> Judge:
    """Loses 0.1 until `count` layers are in float."""
    return lambda file: 0.0 if len(file.read_text()) >= count else 0.1


def test_an_int8_that_holds_is_judged_once_and_not_analysed(image_spec: ModelSpec, tmp_path: Path) -> None:
    report, recorded = _run(image_spec, tmp_path / "int8.xml", lambda _: 0.01, 0.01)
    assert report == ReductionReport(loss=0.01, tolerance=0.01, attempts=1)
    assert (report.holds, recorded.ranked) == (True, 0)
    assert (tmp_path / "int8.xml").read_text() == ""


@pytest.mark.parametrize(("needed", "attempts"), [(1, 2), (2, 3), (3, 5), (5, 7), (8, 7)])
def test_as_few_layers_as_needed_stay_in_float_the_worst_first(
    needed: int, attempts: int, image_spec: ModelSpec, tmp_path: Path
) -> None:
    report, recorded = _run(image_spec, tmp_path / "int8.xml", _needs(needed), 0.01)
    assert report == ReductionReport(0.0, 0.01, attempts, tuple(ERRORS[:needed]))
    assert recorded.ranked == 1
    assert (tmp_path / "int8.xml").read_text() == "abcdefgh"[:needed]
    assert (tmp_path / "int8.bin").read_text() == f"weights of {'abcdefgh'[:needed]}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8.bin", "int8.xml"]


def test_where_nothing_holds_the_smallest_loss_is_left_and_said(image_spec: ModelSpec, tmp_path: Path) -> None:
    losses = {"": 0.5, "a": 0.2, "ab": 0.2, "abcd": 0.3}
    report, _ = _run(image_spec, tmp_path / "int8.xml", lambda file: losses[file.read_text()], 0.01, 4)
    assert report == ReductionReport(0.2, 0.01, 4, (ERRORS[0],))
    assert not report.holds
    assert (tmp_path / "int8.xml").read_text() == "a"


def test_a_loss_that_is_no_number_does_not_hold(image_spec: ModelSpec, tmp_path: Path) -> None:
    report, _ = _run(image_spec, tmp_path / "int8.xml", lambda file: 0.3 if file.read_text() else nan, 0.01, 1)
    assert (report.loss, report.holds, report.attempts) == (0.3, False, 2)


def test_no_layers_are_kept_where_that_is_forbidden(image_spec: ModelSpec, tmp_path: Path) -> None:
    report, recorded = _run(image_spec, tmp_path / "int8.xml", _needs(1), 0.01, 0)
    assert report == ReductionReport(0.1, 0.01, 1)
    assert recorded.ranked == 0


def test_report_names_layers_and_their_errors() -> None:
    report = ReductionReport(0.004, 0.005, 3, (LayerError("features.1.block.0.0", 0.12345678),))
    assert report.as_record().model_dump(mode="json") == {
        "loss": 0.004,
        "tolerance": 0.005,
        "attempts": 3,
        "holds": True,
        "kept_float": [{"layer": "features.1.block.0.0", "error": 0.123457}],
    }


def test_a_precision_that_the_engine_lacks_is_refused_and_nothing_is_written(
    image_spec: ModelSpec, tmp_path: Path
) -> None:
    with pytest.raises(NotAvailableError, match=r"^onnxruntime has no int4$"):
        quantize_within(
            Recorded(),
            tmp_path / "fp32.xml",
            image_spec,
            {},
            tmp_path / "int4.xml",
            precision=Variant.INT4,
            loss=lambda _: 0.0,
            tolerance=0.01,
            max_float_layers=4,
        )
    assert list(tmp_path.iterdir()) == []
