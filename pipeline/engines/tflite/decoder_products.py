"""A decoder's products with weights: in float32, in int8, and in 4 bits with a correction that makes blocks affine."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.tflite.graph import Graph, Tensor
from pipeline.engines.tflite.graph_file import Constant, File

Matrix = NDArray[np.float32]

BLOCK = 32
_LARGEST_8, _LARGEST_4 = 127, 15
# A block's scale is a float16, and kernels refuse one that is 0 or subnormal.
_SMALLEST = np.float32(np.finfo(np.float16).tiny)


@dataclass(frozen=True)
class Product:
    """`x [n, in]` times a matrix `[out, in]`, transposed.

    Attributes:
        offsets: `[out, in / BLOCK]`, what is added to all weights of a block. A block of 4 bits is
            `scale * (q - 8) + offset`, as in GGUF's Q4_1, while kernels know `scale * (q - 8)` alone. The sums of `x`
            over its blocks times the offsets are what is missing.
    """

    matrix: Constant
    bias: Constant | None
    offsets: Constant | None = None

    def __call__(self, graph: Graph, x: Tensor) -> Tensor:
        """Add its operators; `[n, out]`."""
        product = graph.product(x, self.matrix, self.bias)
        if self.offsets is None:
            return product
        rows, blocks = x.shape[0], x.shape[1] // BLOCK
        # XNNPACK sums along the last axis of a matrix faster than by a product with a matrix of zeros and ones.
        sums = graph.sum(graph.reshape(x, (rows * blocks, BLOCK)))
        return graph.add(product, graph.product(graph.reshape(sums, (rows, blocks)), self.offsets))


Write = Callable[[File, str, Matrix, Constant | None], Product]


def float_product(file: File, name: str, matrix: Matrix, bias: Constant | None) -> Product:
    """Weights as they are."""
    return Product(file.constant(name, matrix), bias)


def int8_product(file: File, name: str, matrix: Matrix, bias: Constant | None) -> Product:
    """Weights with a scale a row."""
    return Product(int8_constant(file, name, matrix), bias)


def int4_product(file: File, name: str, matrix: Matrix, bias: Constant | None) -> Product:
    """Weights in affine blocks of 4 bits, with offsets in int8; int8 where a row does not divide into blocks."""
    if matrix.shape[1] % BLOCK:
        return int8_product(file, name, matrix, bias)
    numbers, scales, offsets = round_to_blocks(matrix)
    # The format packs two numbers a byte, the first one in the low half.
    packed = (numbers[:, 0::2] & 15 | numbers[:, 1::2] << 4).view(np.uint8)
    stored = file.nibbles(name, packed, matrix.shape[1], scales)
    return Product(stored, bias, int8_constant(file, f"{name}.offsets", offsets))


def int8_constant(file: File, name: str, matrix: Matrix) -> Constant:
    """A matrix in int8 with a scale a row."""
    return file.constant(name, *round_to_rows(matrix))


def round_to_rows(matrix: Matrix) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to -127 .. 127 with a scale a row, whose largest value is met.

    Returns:
        int8 `[rows, columns]` and float32 `[rows]`.
    """
    largest = np.abs(matrix).max(1)
    scales = np.where(largest > 0, largest / _LARGEST_8, 1).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def round_to_blocks(matrix: Matrix) -> tuple[NDArray[np.int8], NDArray[np.float16], NDArray[np.float32]]:
    """Round to `scale * q + offset` in blocks of 32, whose smallest and largest values are met.

    The weights of a Q4_1 file come out as they were: the file has rounded them in the same way.

    Returns:
        q in -8 .. 7 `[rows, columns]`, float16 scales `[rows, columns / 32]`, and float32 offsets of the same shape.
    """
    blocks = matrix.reshape(len(matrix), -1, BLOCK)
    smallest = blocks.min(2)
    scales = np.maximum((blocks.max(2) - smallest) / _LARGEST_4, _SMALLEST).astype(np.float16)
    wide = scales.astype(np.float32)
    numbers = np.clip(np.rint((blocks - smallest[..., None]) / wide[..., None]), 0, _LARGEST_4) - 8
    return numbers.reshape(matrix.shape).astype(np.int8), scales, smallest + 8 * wide
