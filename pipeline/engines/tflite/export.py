"""Export to TensorFlow Lite with litert-torch.

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

from pipeline.engines.exporter import (
    Calibration,
    Inference,
    LayerError,
    missing_layers,
    precision_of_variant,
    refusal,
    require_products,
)
from pipeline.engines.prepare import prepared
from pipeline.engines.spec import ModelSpec, signature_name
from pipeline.engines.state import call_inputs, call_outputs, sample_call
from pipeline.engines.tflite import decoder, flatbuffer, int4, int8, layer_errors
from pipeline.engines.tflite.layers import has_convolutions, layers, scope
from pipeline.layout import Engine, Variant
from pipeline.runtime.session import Precision
from pipeline.students.decoder import Decoder


class TfliteExporter:
    """See `pipeline.engines.exporter.Exporter`."""

    name = Engine.TFLITE
    precisions = frozenset({Variant.INT8, Variant.INT4})

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write one `.tflite` file with a signature for each of `spec.shapes`, named by `signature_name`.

        A language model's graph is written by hand: see `decoder`.
        """
        if isinstance(model, Decoder):
            decoder.export(model, spec, out)
            return
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
        self,
        fp32: Path,
        spec: ModelSpec,
        calibration: Calibration,
        out: Path,
        *,
        precision: Variant,
        keep_float: Collection[str] = (),
    ) -> None:
        """Write int8 or int4; see `int8`, `int4` and, for language models, `decoder`."""
        model = flatbuffer.read(fp32.read_bytes())
        if decoder.is_decoder(model):
            decoder.quantize(model, fp32, spec, out, precision, keep_float)
            return
        if precision is Variant.INT4:
            require_products(self.name, fp32, has_convolutions(model))
        found = layers(model)
        if set(keep_float) - found.keys():
            raise missing_layers(self.name, fp32, keep_float, found)
        float_scopes = {scope(*pair) for name in keep_float for pair in found[name]}
        try:
            with _quiet():
                if precision is Variant.INT4:
                    content = int4.quantize(fp32, float_scopes)
                else:
                    content = int8.quantize(fp32, spec, calibration, float_scopes)
        except Exception as error:  # RuntimeError, ValueError and flatbuffers' own
            raise refusal(self.name, "quantize", fp32, error) from error
        out.write_bytes(flatbuffer.write(flatbuffer.read(content)))

    def precision_of(self, file: Path, variant: Variant, spec: ModelSpec, inference: Inference) -> Precision:
        """See `Exporter.precision_of`; the CPU kernels have no other type than f32."""
        static = variant.is_reduced and has_convolutions(flatbuffer.read(file.read_bytes()))
        return precision_of_variant(variant, spec, activations="int8 static" if static else "int8 dynamic")

    def layer_errors(self, fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        """See `Exporter.layer_errors`; layers are named by their modules. There is no report on language models."""
        if decoder.is_decoder(flatbuffer.read(fp32.read_bytes())):
            return []
        return layer_errors.layer_errors(fp32, reduced, spec, calibration)


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
