"""Export to OpenVINO IR by tracing."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import openvino
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
from pipeline.engines.openvino import decoder_weights, int4, int8, layer_errors
from pipeline.engines.openvino.decoder import decoder_graph
from pipeline.engines.openvino.decoder_weights import is_decoder
from pipeline.engines.openvino.layers import has_convolutions, layers
from pipeline.engines.openvino.variables import keep_state_inside
from pipeline.engines.prepare import prepared
from pipeline.engines.samples import open_sizes
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.engines.state import call_inputs, call_outputs, sample_call
from pipeline.errors import StageError
from pipeline.layout import Engine, Variant
from pipeline.runtime.session import Precision
from pipeline.students.decoder import Decoder

_TYPES = {"int32": openvino.Type.i32, "float32": openvino.Type.f32}
_META_INFO = re.compile(rb"\t<rt_info>.*?\n\t</rt_info>\n", re.DOTALL)


class OpenVinoExporter:
    """See `pipeline.engines.exporter.Exporter`."""

    name = Engine.OPENVINO
    precisions = frozenset({Variant.INT8, Variant.INT4})

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write `.xml` and `.bin` with the named axes open; weights stay fp32."""
        if isinstance(model, Decoder):
            _save(decoder_graph(model, spec), out)
            return
        sizes = open_sizes(spec)
        try:
            with _quiet(), torch.no_grad():
                converted = openvino.convert_model(
                    prepared(model, sample_call(spec, sizes)),
                    example_input=sample_call(spec, sizes),
                    input=[(_partial_shape(tensor), _TYPES[tensor.dtype]) for tensor in call_inputs(spec)],
                )
        except Exception as error:  # OpenVINO's conversion errors share no public base
            raise refusal(self.name, "export", out, error) from error
        _name_tensors(converted, call_inputs(spec), call_outputs(spec))
        _check_axes(converted, spec, out)
        keep_state_inside(converted, spec)
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
        """Write int8 or int4; see `int8` and `int4`, and `decoder_weights` for decoders."""
        model = openvino.Core().read_model(fp32)
        if precision is Variant.INT4:
            require_products(self.name, fp32, has_convolutions(model))
        found = layers(model)
        if set(keep_float) - found.keys():
            raise missing_layers(self.name, fp32, keep_float, found)
        float_nodes = [node.get_friendly_name() for name in keep_float for node in found[name]]
        if is_decoder(model):
            _save(decoder_weights.quantize(model, precision, calibration, float_nodes), out)
            return
        try:
            with _quiet():
                if precision is Variant.INT4:
                    quantized = int4.quantize(model, float_nodes)
                else:
                    quantized = int8.quantize(model, spec, calibration, float_nodes)
        except Exception as error:  # nncf raises its own and OpenVINO's kinds
            raise refusal(self.name, "quantize", fp32, error) from error
        _name_tensors(quantized, spec.inputs, (spec.output,))
        _save(quantized, out)

    def precision_of(self, file: Path, variant: Variant, spec: ModelSpec, inference: Inference) -> Precision:
        """See `Exporter.precision_of`.

        int8 has fixed scales for activations, int4 gets scales from each input. A decoder gets them from each input in
        both, and computes the rest in f32: in bf16, OpenVINO would unpack the weights and multiply floats.
        """
        decoder = is_decoder(openvino.Core().read_model(file))
        activations = "int8 static" if variant is Variant.INT8 and not decoder else "int8 dynamic"
        wanted: Inference = "f32" if decoder and variant.is_reduced else inference
        return precision_of_variant(variant, spec, activations=activations, inference=wanted)

    def layer_errors(self, fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        """See `Exporter.layer_errors`; layers are named by their modules. Of a decoder, none is measured."""
        if is_decoder(openvino.Core().read_model(fp32)):
            return []
        return layer_errors.layer_errors(fp32, reduced, spec, calibration)


def _partial_shape(tensor: TensorSpec) -> openvino.PartialShape:
    return openvino.PartialShape([axis if isinstance(axis, int) else -1 for axis in tensor.axes])


def _name_tensors(model: openvino.Model, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Give inputs and outputs the names of the spec; a traced output has none."""
    for port, tensor in zip((*model.inputs, *model.outputs), (*inputs, *outputs), strict=True):
        port.get_tensor().set_names({tensor.name})


def _check_axes(model: openvino.Model, spec: ModelSpec, out: Path) -> None:
    shape = model.outputs[0].get_partial_shape()
    for axis, dim in zip(spec.output.axes, shape, strict=True):
        if axis in spec.axis_names() and dim.is_static:
            raise StageError(
                f"openvino export {out.name}: axis {axis!r} of {spec.output.name!r} must stay open but was fixed "
                f"at {dim}; the model's code turns a tensor's size into a Python constant"
            )


def _save(model: openvino.Model, out: Path) -> None:
    """Write without what differs between two exports: names numbered over the whole process, notes of the tools."""
    model.set_friendly_name("model")
    _number_nodes(model)
    openvino.save_model(model, out, compress_to_fp16=False)
    # The last `<rt_info>` is the model's own: paths and settings of the converter, nothing that inference reads.
    out.write_bytes(_META_INFO.sub(b"", out.read_bytes()))


def _number_nodes(model: openvino.Model) -> None:
    """Replace automatic names (`Constant_1704`) by the node's place; inputs and PyTorch's own names stay."""
    inputs = {port.get_node().get_friendly_name() for port in model.inputs}
    seen: set[str] = set(inputs)
    for number, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if name in inputs:
            continue
        if not name.startswith("__module.") or name in seen:
            name = f"{node.get_type_name()}.{number}"
            node.set_friendly_name(name)
        seen.add(name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back warnings of the tracer and progress bars of NNCF, which know no terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


exporter = OpenVinoExporter()
