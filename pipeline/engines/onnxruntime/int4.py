"""int4 for ONNX Runtime, with its MatMulNBits operator: weights alone, in blocks with a scale each."""

from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.onnx_model import ONNXModel

from pipeline.engines.onnxruntime import int8

# The tool pads a weight whose inner size is no multiple of this.
_BLOCK = 32
# At this level the kernels quantize activations to int8, with a scale a block. At the others they compute in float,
# which is slower: 0.43 instead of 0.40 ms for an encoder of 2.8M parameters, and twice as slow for one of 500M.
_INT8_ACTIVATIONS = 4


def quantize(model: ir.Model, folder: Path, float_nodes: Collection[str]) -> ir.Model:
    """The int4 model: products with weights of 4 bits and a zero point a block, tables in int8.

    Args:
        model: the fp32 model, without convolutions.
        folder: an empty one to work in.
        float_nodes: names of nodes to leave in fp32.
    """
    tables = int8.quantize_tables(model, folder, float_nodes)
    products = ONNXModel(int8.bare_proto(tables))
    # The tool knows MatMul alone; a Gemm is called `x_MatMul` after this.
    products.replace_gemm_with_matmul()
    quantizer = MatMulNBitsQuantizer(
        products.model,
        bits=4,
        block_size=_BLOCK,
        is_symmetric=False,
        accuracy_level=_INT8_ACTIVATIONS,
        nodes_to_exclude=[*float_nodes, *(f"{name}_MatMul" for name in float_nodes)],
    )
    quantizer.process()
    quantized: ir.Model = ir.from_proto(quantizer.model.model)
    return quantized
