"""int4 for TensorFlow Lite, with ai-edge-quantizer: weights alone, in blocks with a scale each."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.engines.tflite import flatbuffer
from pipeline.engines.tflite.int8 import SILENT, leave_scopes, scope_regex
from pipeline.engines.tflite.layers import operator_name, scope

_BLOCK = 32


def quantize(fp32: Path, float_scopes: Collection[str]) -> bytes:
    """The int4 model: products with weights of 4 bits and a scale a block.

    Tables and products of two activations are int8 as in the int8 variant. So is a weight whose inner size is no
    multiple of the block, because the kernels know no other block. The kernels quantize activations as they come.

    Args:
        fp32: the file to quantize, without convolutions.
        float_scopes: operators to leave in fp32, by their `scope`.
    """
    from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    for found in sorted(_divisible_products(flatbuffer.read(fp32.read_bytes()))):
        manager.add_dynamic_config(
            regex=scope_regex(found),
            operation_name=qtyping.TFLOperationName.FULLY_CONNECTED,
            num_bits=4,
            granularity=qtyping.QuantGranularity.BLOCKWISE_32,
        )
    leave_scopes(manager, float_scopes)
    result = quantizer.Quantizer(str(fp32), manager.get_quantization_recipe()).quantize(**SILENT)
    return bytes(result.quantized_model)


def _divisible_products(model: Any) -> set[str]:
    """Scopes of the products whose weights, `[out, in]`, divide into blocks along `in`."""
    return {
        scope(subgraph, operator)
        for subgraph in model.subgraphs
        for operator in subgraph.operators
        if operator_name(model, operator) == "FULLY_CONNECTED"
        and subgraph.tensors[operator.inputs[1]].shape[-1] % _BLOCK == 0
    }
