from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from pipeline.engines.onnxruntime.export import exporter
from pipeline.engines.spec import ModelSpec
from pipeline.errors import StageError
from pipeline.layout import Variant
from pipeline.runtime.session import open_session

TOOLCHAIN: dict[str, str | int] = {"opset": 23}
Make = Callable[..., Any]


def test_text_encoder_matches_pytorch_at_every_shape_and_twice_the_same_bytes(
    text_model: nn.Module, text_spec: ModelSpec, texts: Make, reference: Make, mean_cosine: Make, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        exporter.export(text_model, text_spec, folder / "fp32.onnx", toolchain=TOOLCHAIN)
        exporter.quantize(folder / "fp32.onnx", text_spec, texts(64, 16), folder / "int8.onnx", precision=Variant.INT8)
    first, second = ({path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in folders)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []

    fp32, int8 = (open_session("onnxruntime", folders[0] / f"{variant}.onnx", 1) for variant in ("fp32", "int8"))
    for batch, length in ((1, 8), (1, 5), (4, 8), (3, 16)):
        inputs = texts(batch, length)
        expected = reference(text_model, inputs)
        assert fp32.run(inputs) == pytest.approx(expected, abs=1e-5)
        assert mean_cosine(int8.run(inputs), expected) > 0.995


def test_image_network_matches_pytorch_and_survives_int8(
    image_model: nn.Module, image_spec: ModelSpec, images: Make, reference: Make, mean_cosine: Make, tmp_path: Path
) -> None:
    exporter.export(image_model, image_spec, tmp_path / "fp32.onnx", toolchain=TOOLCHAIN)
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    exporter.quantize(fp32, image_spec, images(32), int8, precision=Variant.INT8)
    inputs = images(3)
    expected = reference(image_model, inputs)
    assert mean_cosine(open_session("onnxruntime", tmp_path / "fp32.onnx", 1).run(inputs), expected) > 0.999
    assert mean_cosine(open_session("onnxruntime", tmp_path / "int8.onnx", 1).run(inputs), expected) > 0.99


class _BranchesOnBatch(nn.Module):
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        product = (ids * mask).to(torch.float32)
        return product if ids.shape[0] == 2 else product + 1


def test_model_that_fixes_an_axis_is_refused_by_name(text_spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"onnxruntime .*fp32.onnx.*static shape of 2"):
        exporter.export(_BranchesOnBatch(), text_spec, tmp_path / "fp32.onnx", toolchain=TOOLCHAIN)
    assert list(tmp_path.iterdir()) == []


def test_file_tells_nothing_of_the_machine_that_made_it(
    image_model: nn.Module, image_spec: ModelSpec, tmp_path: Path
) -> None:
    exporter.export(image_model, image_spec, tmp_path / "fp32.onnx", toolchain=TOOLCHAIN)
    proto = onnx.load(tmp_path / "fp32.onnx")
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    assert b".py" not in proto.SerializeToString()
    assert proto.opset_import[0].version == 23
