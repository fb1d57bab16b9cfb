"""Export to ONNX."""

import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import onnx_ir as ir
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
from pipeline.engines.onnxruntime import int4, int8, layer_errors
from pipeline.engines.onnxruntime.attention import SplitHeadsInside
from pipeline.engines.onnxruntime.decoder import decoder_model, is_decoder
from pipeline.engines.onnxruntime.decoder_nbits import reduce_decoder
from pipeline.engines.onnxruntime.layers import has_convolutions, layers
from pipeline.engines.onnxruntime.pooling import PoolMeans
from pipeline.engines.prepare import prepared
from pipeline.engines.samples import open_sizes
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.engines.state import call_inputs, call_outputs, sample_call
from pipeline.errors import StageError
from pipeline.layout import Engine, Variant
from pipeline.runtime.onnxruntime_state import MOST_POSITIONS
from pipeline.runtime.session import Precision
from pipeline.students.decoder import Decoder

# The first with Attention as one operator.
_DEFAULT_OPSET = 23


class OnnxRuntimeExporter:
    """See `pipeline.engines.exporter.Exporter`."""

    name = Engine.ONNXRUNTIME
    precisions = frozenset({Variant.INT8, Variant.INT4})

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write one `.onnx` file with the weights inside and the named axes open."""
        opset = int(toolchain.get("opset", _DEFAULT_OPSET))
        if isinstance(model, Decoder):
            _save(decoder_model(model, spec, opset), out)
            return
        try:
            with _quiet(), torch.no_grad():
                converted = _convert(prepared(model, sample_call(spec, open_sizes(spec))), spec, opset)
        except Exception as error:  # the exporter raises many kinds, none of them documented
            raise refusal(self.name, "export", out, error) from error
        _check_axes(converted.graph, spec, out)
        _save(converted, out)

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
        """Write int8 or int4; see `int8` and `int4`."""
        model = ir.load(fp32)
        if precision is Variant.INT4:
            require_products(self.name, fp32, has_convolutions(model.graph))
        found = layers(model.graph)
        if set(keep_float) - found.keys():
            raise missing_layers(self.name, fp32, keep_float, found)
        float_nodes = [node.name or "" for name in keep_float for node in found[name]]
        if is_decoder(model.graph):
            reduce_decoder(model, fp32, precision, float_nodes, spec, calibration)
            _save(model, out)
            return
        try:
            with _quiet(), tempfile.TemporaryDirectory() as folder:
                if precision is Variant.INT4:
                    quantized = int4.quantize(model, Path(folder), float_nodes)
                else:
                    quantized = int8.quantize(model, spec, calibration, Path(folder), float_nodes)
        except Exception as error:  # plain Exception and RuntimeError are what it raises
            raise refusal(self.name, "quantize", fp32, error) from error
        _save(quantized, out)

    def precision_of(self, file: Path, variant: Variant, spec: ModelSpec, inference: Inference) -> Precision:
        """See `Exporter.precision_of`; the CPU kernels have no other type than f32."""
        static = variant.is_reduced and has_convolutions(ir.load(file).graph)
        return precision_of_variant(variant, spec, activations="int8 static" if static else "int8 dynamic")

    def layer_errors(self, fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        """See `Exporter.layer_errors`; a layer is named by its weight, a product without weights by its node."""
        return layer_errors.layer_errors(ir.load(fp32), ir.load(reduced), spec, calibration)


def _convert(model: torch.nn.Module, spec: ModelSpec, opset: int) -> ir.Model:
    program = torch.onnx.export(
        model,
        sample_call(spec, open_sizes(spec)),
        dynamo=True,
        opset_version=opset,
        input_names=[tensor.name for tensor in call_inputs(spec)],
        output_names=[tensor.name for tensor in call_outputs(spec)],
        dynamic_shapes=_open_axes(model, call_inputs(spec)),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise StageError("torch.onnx.export returned nothing")
    converted: ir.Model = program.model
    SplitHeadsInside()(converted)
    PoolMeans()(converted)
    return converted


def _open_axes(model: torch.nn.Module, inputs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """The named axes of each parameter of `forward`; those that a starred one takes are together in a tuple."""
    axes = [{i: a for i, a in enumerate(tensor.axes) if isinstance(a, str)} for tensor in inputs]
    kinds = [parameter.kind for parameter in signature(model.forward).parameters.values()]
    if Parameter.VAR_POSITIONAL not in kinds:
        return tuple(axes)
    starred = kinds.index(Parameter.VAR_POSITIONAL)
    return (*axes[:starred], tuple(axes[starred:]))


def _check_axes(graph: ir.Graph, spec: ModelSpec, out: Path) -> None:
    """Refuse a file with a fixed axis: the tracer says nothing of it, and another shape would fail on the device."""
    values = {value.name: value for value in (*graph.inputs, *graph.outputs)}
    for tensor in (*call_inputs(spec), *call_outputs(spec)):
        shape = values[tensor.name].shape or ()
        for axis, size in zip(tensor.axes, shape, strict=True):
            if axis in spec.axis_names() and isinstance(size, int):
                raise StageError(
                    f"onnxruntime export {out.name}: axis {axis!r} of {tensor.name!r} must stay open but was fixed "
                    f"at {size}; the model's code branches on it or slices a table with it"
                )


def _save(model: ir.Model, out: Path) -> None:
    """Write without what differs between two exports or machines: stack traces, paths, build names."""
    proto = ir.to_proto(model)
    proto.producer_name, proto.producer_version, proto.doc_string = "", "", ""
    kept = [entry for entry in proto.metadata_props if entry.key == MOST_POSITIONS]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    graph = proto.graph
    # Shapes of intermediate values: the runtime infers them, and the quantizer trips over outdated ones.
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    try:
        out.write_bytes(proto.SerializeToString(deterministic=True))
    except ValueError as error:
        raise refusal(Engine.ONNXRUNTIME, "write", out, error) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the converters' warnings: they concern torchvision and the converters' own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


exporter = OnnxRuntimeExporter()
