"""Export to TensorFlow Lite with litert-torch, and int8 with ai-edge-quantizer.

Shapes are fixed in this format: a file gets one signature a shape, and all of them share the weights.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.engines import flatbuffer
from pipeline.engines.base import Calibration, ModelSpec, refusal, signature_name
from pipeline.engines.samples import sample_inputs
from pipeline.layout import Engine


class TfliteExporter:
    """See `pipeline.engines.base.Exporter`."""

    name = Engine.TFLITE

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write one `.tflite` file with a signature for each of `spec.shapes`, named by `signature_name`."""
        try:
            with _quiet(), torch.no_grad():
                content = _convert(model.eval(), spec)
        except Exception as error:  # torch.export, MLIR and litert-torch raise their own kinds
            raise refusal(self.name, "export", out, error) from error
        converted = flatbuffer.read(content)
        names = {f"args_{index}": tensor.name for index, tensor in enumerate(spec.inputs)}
        flatbuffer.rename_signature_tensors(converted, names, spec.output.name)
        out.write_bytes(flatbuffer.write(converted))

    def quantize(self, fp32: Path, spec: ModelSpec, calibration: Calibration, out: Path) -> None:
        """Write int8 weights, a scale a channel and a table row; the kernels quantize activations as they come.

        The calibration set is not used: nothing gets a fixed activation scale.
        """
        from ai_edge_quantizer import quantizer, recipe

        try:
            with _quiet():
                result = quantizer.Quantizer(str(fp32), recipe.dynamic_wi8_afp32()).quantize(
                    enable_progress_bar=False, enable_progress_report=False
                )
        except Exception as error:  # RuntimeError, ValueError and flatbuffers' own
            raise refusal(self.name, "quantize", fp32, error) from error
        out.write_bytes(flatbuffer.write(flatbuffer.read(bytes(result.quantized_model))))


def _convert(model: torch.nn.Module, spec: ModelSpec) -> bytes:
    import litert_torch  # 13 s cold

    converter: Any = litert_torch
    for shape in spec.shapes:
        converter = converter.signature(signature_name(shape), model, sample_inputs(spec, shape))
    content: bytes = converter.convert().model_content()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the converter's log of its own phases."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


exporter = TfliteExporter()
