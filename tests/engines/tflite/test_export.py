from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from pipeline.engines.spec import ModelSpec
from pipeline.engines.tflite.export import exporter
from pipeline.layout import Variant
from pipeline.runtime.session import open_session

TOOLCHAIN: dict[str, str | int] = {"opset": 20}
Make = Callable[..., Any]


def test_text_encoder_with_two_signatures_matches_pytorch_at_every_shape(
    text_model: nn.Module, text_spec: ModelSpec, texts: Make, reference: Make, mean_cosine: Make, tmp_path: Path
) -> None:
    # The batch signature and the long one: each more costs seconds.
    spec = replace(text_spec, shapes=text_spec.shapes[1:])
    exporter.export(text_model, spec, tmp_path / "fp32.tflite", toolchain=TOOLCHAIN)
    for name in ("int8.tflite", "again.tflite"):
        exporter.quantize(tmp_path / "fp32.tflite", spec, texts(64, 16), tmp_path / name, precision=Variant.INT8)
    assert (tmp_path / "int8.tflite").read_bytes() == (tmp_path / "again.tflite").read_bytes()

    fp32, int8 = (open_session("tflite", tmp_path / f"{variant}.tflite", 1) for variant in ("fp32", "int8"))
    for batch, length in ((1, 8), (1, 5), (4, 8), (3, 16)):
        inputs = texts(batch, length)
        expected = reference(text_model, inputs)
        assert fp32.run(inputs) == pytest.approx(expected, abs=1e-5)
        assert mean_cosine(int8.run(inputs), expected) > 0.995


def test_image_network_is_exported_twice_to_the_same_bytes_and_survives_int8(
    image_model: nn.Module, image_spec: ModelSpec, images: Make, reference: Make, mean_cosine: Make, tmp_path: Path
) -> None:
    exporter.export(image_model, image_spec, tmp_path / "fp32.tflite", toolchain=TOOLCHAIN)
    exporter.export(image_model, image_spec, tmp_path / "again.tflite", toolchain=TOOLCHAIN)
    assert (tmp_path / "fp32.tflite").read_bytes() == (tmp_path / "again.tflite").read_bytes()
    exporter.quantize(
        tmp_path / "fp32.tflite", image_spec, images(32), tmp_path / "int8.tflite", precision=Variant.INT8
    )
    inputs = images(3)
    expected = reference(image_model, inputs)
    assert mean_cosine(open_session("tflite", tmp_path / "fp32.tflite", 1).run(inputs), expected) > 0.999
    assert mean_cosine(open_session("tflite", tmp_path / "int8.tflite", 1).run(inputs), expected) > 0.99
