"""Export to TensorFlow Lite with litert-torch, and int8 with ai-edge-quantizer.

Shapes are fixed in this format: a file gets one signature a shape, and all of them share the weights.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.engines.exporter import Calibration, LayerError, missing_layers, refusal
from pipeline.engines.prepare import prepared
from pipeline.engines.spec import ModelSpec, signature_name
from pipeline.engines.state import call_inputs, call_outputs, sample_call
from pipeline.engines.tflite import flatbuffer, int8, layer_errors
from pipeline.layout import Engine


class TfliteExporter:
    """See `pipeline.engines.exporter.Exporter`."""

    name = Engine.TFLITE

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write one `.tflite` file with a signature for each of `spec.shapes`, named by `signature_name`."""
        try:
            with _quiet(), torch.no_grad():
                content = _convert(prepared(model, sample_call(spec, spec.shapes[0])), spec)
        except Exception as error:  # torch.export, MLIR and litert-torch raise their own kinds
            raise refusal(self.name, "export", out, error) from error
        converted = flatbuffer.read(content)
        inputs = {f"args_{index}": tensor.name for index, tensor in enumerate(call_inputs(spec))}
        outputs = {f"output_{index}": tensor.name for index, tensor in enumerate(call_outputs(spec))}
        flatbuffer.rename_signature_tensors(converted, inputs, outputs)
        out.write_bytes(flatbuffer.write(converted))

    def quantize(
        self, fp32: Path, spec: ModelSpec, calibration: Calibration, out: Path, *, keep_float: Collection[str] = ()
    ) -> None:
        """Write int8 weights, a scale a channel and a table row.

        Networks with convolutions also get int8 activations, with scales from the calibration set. In others the
        kernels quantize activations as they come, and the calibration set is not used.
        """
        model = flatbuffer.read(fp32.read_bytes())
        layers = layer_errors.layers(model)
        if set(keep_float) - layers.keys():
            raise missing_layers(self.name, fp32, keep_float, layers)
        scopes = {layer_errors.scope(*pair) for name in keep_float for pair in layers[name]}
        try:
            with _quiet():
                content = _quantize(fp32, model, spec, calibration, scopes)
        except Exception as error:  # RuntimeError, ValueError and flatbuffers' own
            raise refusal(self.name, "quantize", fp32, error) from error
        out.write_bytes(flatbuffer.write(flatbuffer.read(content)))

    def layer_errors(self, fp32: Path, int8: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        """By the names of modules."""
        return layer_errors.layer_errors(fp32, int8, spec, calibration)


def _quantize(fp32: Path, model: Any, spec: ModelSpec, calibration: Calibration, scopes: Collection[str]) -> bytes:
    if layer_errors.has_convolutions(model):
        return int8.quantize_static(fp32, spec, calibration, scopes)
    return int8.quantize_dynamic(fp32, scopes)


def _convert(model: torch.nn.Module, spec: ModelSpec) -> bytes:
    import litert_torch  # 13 s cold

    converter: Any = litert_torch
    for shape in spec.shapes:
        converter = converter.signature(signature_name(shape), model, sample_call(spec, shape))
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
