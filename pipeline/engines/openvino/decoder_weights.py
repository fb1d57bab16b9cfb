"""int8 and int4 of a decoder's graph: weights alone, in the pattern that OpenVINO's CPU plugin multiplies as integers.

The pattern is Constant, Convert, Subtract of a zero point, Multiply by a scale. Where activations are made int8 as they
come, the plugin needs zero points that are integers too: with a float zero point it unpacks the weights, and takes 1.6
times as long. NNCF writes the same pattern, but it also reduces the table of rotary positions.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as operators

from pipeline.engines.exporter import Calibration
from pipeline.engines.openvino.gptq import Groups, round_weight
from pipeline.layout import Variant
from pipeline.runtime.openvino import settings
from pipeline.runtime.openvino_state import MASK, causal_mask
from pipeline.runtime.session import Precision, available_cores

# Inputs that share a scale and a zero point in int4.
_GROUP = 32
# Calibration examples that int4 looks at: texts of 256 tokens. With 32 it lost 1.4 % instead of 1.5 %, in 70 instead of
# 52 s.
_EXAMPLES = 16
# Products that stay in int8. With 4 bits, queries, keys and values alone cost a model of 135M +2.0 % bits per byte, and
# all others together +1.4 %; they are 16 % of the weights.
_WIDE = ("head", "query_key_value")


def is_decoder(model: openvino.Model) -> bool:
    """Whether `pipeline.engines.openvino.decoder` wrote a model."""
    return any(MASK in port.get_names() for port in model.inputs)


def quantize(
    model: openvino.Model, precision: Variant, calibration: Calibration, float_nodes: Collection[str]
) -> openvino.Model:
    """Reduce the weights of products.

    int8 is symmetric, with a scale a row. int4 has a scale and a zero point for each 32 inputs of a row, rounded by
    GPTQ. `_WIDE`, and products whose inputs are no multiple of 32, stay in int8. A table of embeddings that is the
    head too is reduced with it.

    Args:
        model: the fp32 graph; changed in place.
        precision: int8 or int4.
        calibration: whole texts under `tokens`, int32 `[n, length]`; for int4.
        float_nodes: friendly names of products to leave in fp32.
    """
    products = [node for node in _products(model) if node.get_friendly_name() not in float_nodes]
    small = [node for node in products if precision is Variant.INT4 and _takes_int4(node)]
    moments = _moments(model, small, calibration["tokens"][:_EXAMPLES]) if small else {}
    for node in products:
        constant, moment = node.input_value(1).get_node(), moments.get(node.get_friendly_name())
        weight = constant.data
        reduced = _int8(weight) if moment is None else _int4(round_weight(weight, moment, _GROUP))
        for target in constant.output(0).get_target_inputs():
            target.replace_source_output(reduced.output(0))
    model.validate_nodes_and_infer_types()
    return model


def _products(model: openvino.Model) -> list[Any]:
    """Products with weights, in the order of computation."""
    products = (node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul")
    return [node for node in products if node.input_value(1).get_node().get_type_name() == "Constant"]


def _takes_int4(node: Any) -> bool:
    is_wide = str(node.get_friendly_name()).endswith(_WIDE)
    return not is_wide and node.input_value(1).get_shape()[1] % _GROUP == 0


def _moments(model: openvino.Model, products: list[Any], texts: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Second moments of each product's inputs over whole texts, by its friendly name."""
    inputs = [node.input_value(0) for node in products]
    shown = openvino.Model(inputs, model.get_sinks(), model.get_parameters())
    config = settings(available_cores(), Precision(cache="f32"))
    request = openvino.Core().compile_model(shown, "CPU", config).create_infer_request()
    names = [node.get_friendly_name() for node in products]
    sums = {
        name: np.zeros(2 * (int(source.get_partial_shape()[-1].get_length()),), np.float32)
        for name, source in zip(names, inputs, strict=True)
    }
    for text in texts:
        count = len(text)
        request.reset_state()
        found = request.infer(
            {
                "tokens": text[None].astype(np.int32),
                "position": np.zeros(1, np.int32),
                "rows": np.arange(count, dtype=np.int32),
                MASK: causal_mask(np.zeros(count, np.float32), count),
            }
        )
        for index, name in enumerate(names):
            features = found[index].reshape(count, -1)
            sums[name] += features.T @ features / (count * len(texts))
    return sums


def _int8(weight: NDArray[np.float32]) -> Any:
    scale = np.maximum(np.abs(weight).max(1, keepdims=True) / np.float32(127), np.finfo(np.float32).tiny)
    levels = operators.constant(np.rint(weight / scale).astype(np.int8))
    return operators.multiply(operators.convert(levels, openvino.Type.f32), operators.constant(scale))


def _int4(groups: Groups) -> Any:
    rows, count, size = groups.levels.shape
    levels = operators.subtract(_nibbles(groups.levels), _nibbles(groups.zero))
    scaled = operators.multiply(levels, operators.constant(groups.scale))
    return operators.reshape(scaled, operators.constant(np.array([rows, count * size])), False)


def _nibbles(values: NDArray[np.uint8]) -> Any:
    """A constant of 4 bits a value, converted to float; the first of two values is the lower half of a byte."""
    flat = np.append(values.reshape(-1), np.zeros(values.size % 2, np.uint8))
    # A tensor that owns its memory; one made of an array would lose it with the array.
    packed = openvino.Tensor(openvino.Type.u4, openvino.Shape(values.shape))
    packed.data[:] = (flat[0::2] | (flat[1::2] << 4)).reshape(packed.data.shape)
    return operators.convert(operators.constant(packed), openvino.Type.f32)
