"""Export to ONNX, and int8 with onnxruntime.quantization.

Networks without convolutions are quantized dynamically: weights int8, activations quantized as they come. Those
with convolutions get fixed activation scales from the calibration set: see `onnx_int8`.
"""

import logging
import re
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from pipeline.engines.exporter import Calibration, LayerError, missing_layers, refusal
from pipeline.engines.onnxruntime import graph, int8, layer_errors
from pipeline.engines.onnxruntime.attention import split_heads_inside
from pipeline.engines.prepare import prepared
from pipeline.engines.samples import open_sizes
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.engines.state import call_inputs, call_outputs, sample_call
from pipeline.errors import StageError
from pipeline.layout import Engine

# The first with Attention as one operator.
_DEFAULT_OPSET = 23
_PRODUCTS = ["MatMul", "Gemm"]
_TABLES = ["Gather"]
_FREED = re.compile("_quantized$")


class OnnxRuntimeExporter:
    """See `pipeline.engines.exporter.Exporter`."""

    name = Engine.ONNXRUNTIME

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write one `.onnx` file with the weights inside and the named axes open."""
        opset = int(toolchain.get("opset", _DEFAULT_OPSET))
        try:
            with _quiet(), torch.no_grad():
                proto = _convert(prepared(model, sample_call(spec, open_sizes(spec))), spec, opset)
        except Exception as error:  # the exporter raises many kinds, none of them documented
            raise refusal(self.name, "export", out, error) from error
        _check_axes(proto, spec, out)
        graph.pool_means(proto)
        _save(proto, out)

    def quantize(
        self, fp32: Path, spec: ModelSpec, calibration: Calibration, out: Path, *, keep_float: Collection[str] = ()
    ) -> None:
        """Write int8: per-channel weights, and a per-tensor int8 table for each embedding."""
        proto = onnx.load(fp32)
        layers = graph.layers(proto.graph)
        if set(keep_float) - layers.keys():
            raise missing_layers(self.name, fp32, keep_float, layers)
        float_nodes = [node.name for name in keep_float for node in layers[name]]
        static = any(node.op_type == "Conv" for node in proto.graph.node)
        try:
            with _quiet(), tempfile.TemporaryDirectory() as folder:
                if static:
                    quantized = int8.quantize(proto, spec, calibration, Path(folder), float_nodes)
                else:
                    quantized = _quantize_dynamic(proto, Path(folder), float_nodes)
        except Exception as error:  # plain Exception and RuntimeError are what it raises
            raise refusal(self.name, "quantize", fp32, error) from error
        _save(quantized, out)

    def layer_errors(self, fp32: Path, int8: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        """By the weights' names; a product without weights by its node's."""
        return layer_errors.layer_errors(onnx.load(fp32), onnx.load(int8), spec, calibration)


def _convert(model: torch.nn.Module, spec: ModelSpec, opset: int) -> onnx.ModelProto:
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
    split_heads_inside(program.model)
    proto: onnx.ModelProto = program.model_proto
    return proto


def _open_axes(model: torch.nn.Module, inputs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """The named axes of each parameter of `forward`; those that a starred one takes are together in a tuple."""
    axes = [{i: a for i, a in enumerate(tensor.axes) if isinstance(a, str)} for tensor in inputs]
    kinds = [parameter.kind for parameter in signature(model.forward).parameters.values()]
    if Parameter.VAR_POSITIONAL not in kinds:
        return tuple(axes)
    starred = kinds.index(Parameter.VAR_POSITIONAL)
    return (*axes[:starred], tuple(axes[starred:]))


def _check_axes(proto: onnx.ModelProto, spec: ModelSpec, out: Path) -> None:
    """A tracer that fixes an axis says nothing: the first other shape would fail on the device."""
    values = {value.name: value for value in (*proto.graph.input, *proto.graph.output)}
    for tensor in (*call_inputs(spec), *call_outputs(spec)):
        dims = values[tensor.name].type.tensor_type.shape.dim
        for axis, dim in zip(tensor.axes, dims, strict=True):
            if axis in spec.axis_names() and dim.dim_value:
                raise StageError(
                    f"onnxruntime export {out.name}: axis {axis!r} of {tensor.name!r} must stay open but was fixed "
                    f"at {dim.dim_value}; the model's code branches on it or slices a table with it"
                )


def _quantize_dynamic(proto: onnx.ModelProto, folder: Path, float_nodes: Sequence[str]) -> onnx.ModelProto:
    """Tables in 8 bits, products in 7.

    CPUs without VNNI add products of 8-bit activations and 8-bit weights in 16 bits, which overflows; 7-bit
    weights (`reduce_range`) do not, so the same file is right on every device. Tables only get looked up.
    """
    steps = ((_TABLES, False), (_PRODUCTS, True))
    for number, (types, reduce_range) in enumerate(steps):
        path = folder / f"{number}.onnx"
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=types,
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(float_nodes),
        )
        proto = onnx.load(path)
        del proto.graph.value_info[:]
        _free_names(proto, f".int8_{number}")
    return proto


def _free_names(proto: onnx.ModelProto, suffix: str) -> None:
    """Rename quantized values: the quantizer calls both a looked-up row and a product's input `x_quantized`."""
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [_FREED.sub(suffix, name) for name in names]
    for initializer in proto.graph.initializer:
        initializer.name = _FREED.sub(suffix, initializer.name)


def _save(proto: onnx.ModelProto, out: Path) -> None:
    """Write without what differs between two exports or machines: stack traces, paths, build names."""
    proto.producer_name, proto.producer_version, proto.doc_string = "", "", ""
    del proto.metadata_props[:]
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
