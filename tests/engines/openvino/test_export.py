from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from pipeline.engines.openvino.export import exporter
from pipeline.engines.spec import ModelSpec
from pipeline.layout import Variant
from pipeline.runtime.session import open_session

TOOLCHAIN: dict[str, str | int] = {"opset": 20}
Make = Callable[..., Any]


def test_text_encoder_matches_pytorch_at_every_shape_and_twice_the_same_bytes(
    text_model: nn.Module, text_spec: ModelSpec, texts: Make, reference: Make, mean_cosine: Make, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        exporter.export(text_model, text_spec, folder / "fp32.xml", toolchain=TOOLCHAIN)
        exporter.quantize(folder / "fp32.xml", text_spec, texts(64, 16), folder / "int8.xml", precision=Variant.INT8)
    first, second = ({path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in folders)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []

    fp32, int8 = (open_session("openvino", folders[0] / f"{variant}.xml", 1) for variant in ("fp32", "int8"))
    for batch, length in ((1, 8), (1, 5), (4, 8), (3, 16)):
        inputs = texts(batch, length)
        expected = reference(text_model, inputs)
        assert fp32.run(inputs) == pytest.approx(expected, abs=1e-5)
        assert mean_cosine(int8.run(inputs), expected) > 0.995


def test_image_network_matches_pytorch_and_survives_int8(
    image_model: nn.Module, image_spec: ModelSpec, images: Make, reference: Make, mean_cosine: Make, tmp_path: Path
) -> None:
    exporter.export(image_model, image_spec, tmp_path / "fp32.xml", toolchain=TOOLCHAIN)
    fp32, int8 = tmp_path / "fp32.xml", tmp_path / "int8.xml"
    exporter.quantize(fp32, image_spec, images(32), int8, precision=Variant.INT8)
    inputs = images(3)
    expected = reference(image_model, inputs)
    assert mean_cosine(open_session("openvino", tmp_path / "fp32.xml", 1).run(inputs), expected) > 0.999
    assert mean_cosine(open_session("openvino", tmp_path / "int8.xml", 1).run(inputs), expected) > 0.995
