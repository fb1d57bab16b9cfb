"""int8 and int4 for the graphs of decoders, with MatMulNBits: weights in blocks, activations in int8 as they come."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from pipeline.engines.exporter import Calibration, NotAvailableError
from pipeline.engines.onnxruntime.blocks import INT4_BLOCK, affine_blocks, pack, symmetric_blocks
from pipeline.engines.onnxruntime.decoder import CONTRIB
from pipeline.engines.onnxruntime.gptq import input_squares, round_by_examples
from pipeline.engines.spec import ModelSpec
from pipeline.layout import Variant

_SMALLEST_BLOCK, _LARGEST_BLOCK = 32, 128
_LARGEST_INT4_BLOCK = 64
_ATTENTION = ".attention."
# At this level the kernels quantize activations to int8, with a scale a block. At the others they compute in float:
# int8 products of 135M parameters then take 300 ms a token instead of 6.
_INT8_ACTIVATIONS = 4
_REDUCED = ("MatMul", "Gemm", "Gather")

Floats = NDArray[np.float32]


def reduce_decoder(
    model: ir.Model,
    fp32: Path,
    precision: Variant,
    float_nodes: Collection[str],
    spec: ModelSpec,
    calibration: Calibration,
) -> None:
    """Turn the products and the table of a decoder's fp32 graph into int8 or int4, in place.

    The table and the head are int8 in both, and one constant where they are tied. With calibration texts int4 rounds
    the feed-forward parts so that their outputs change least, in blocks of 64, and attention stays int8: that is fast.
    Without them int4 keeps weights exactly that were read from blocks of 32 in 4 bits with an offset, which is slower.

    Args:
        model: what `decoder_model` wrote.
        fp32: its file, for messages.
        precision: int8 or int4.
        float_nodes: names of nodes to leave in fp32.
        spec: the spec of the export.
        calibration: texts as `tokens [n, length]`, with `position [n]` of zeros and any `rows [n]`; may be empty.

    Raises:
        NotAvailableError: the number of inputs of a product is no multiple of 32; the model is not changed.
    """
    nodes = [node for node in model.graph if node.op_type in _REDUCED and _weight(node) is not None]
    for node in nodes:
        size = _matrix(node).shape[1]
        if size % _SMALLEST_BLOCK:
            reason = f"{node.name} has {size} inputs, and weights are rounded in blocks of {_SMALLEST_BLOCK}"
            raise NotAvailableError(f"onnxruntime has no {precision} for {fp32.name}: {reason}")
    four = [node for node in nodes if node.op_type == "MatMul"] if precision is Variant.INT4 else []
    squares: dict[str, Floats] = {}
    if four and calibration:
        four = [node for node in four if _ATTENTION not in (node.name or "")]
        squares = input_squares(ir.load(fp32), {_input(node) for node in four}, spec, calibration)
    reducer = _Reducer(model.graph)
    for node in nodes:
        if node.name in float_nodes:
            continue
        if node.op_type == "Gather":
            reducer.look_up(node)
        elif node not in four:
            reducer.multiply_int8(node)
        elif calibration:
            reducer.multiply_rounded(node, squares[_input(node)])
        else:
            reducer.multiply_affine(node)
    reducer.drop_unused()


def _input(node: ir.Node) -> str:
    """Name of what a product multiplies."""
    assert node.inputs[0] is not None
    return node.inputs[0].name or ""


def _weight(node: ir.Node) -> ir.Value | None:
    """The constant matrix of a product or table; None where there is none, as for a Gather of rows."""
    constants = [value for value in node.inputs if value is not None and value.const_value is not None]
    return next((value for value in constants if value.shape is not None and len(value.shape) == 2), None)


def _matrix(node: ir.Node) -> Floats:
    """The weight as `[outputs, inputs]`, for a table `[rows, features]`."""
    weight = _weight(node)
    assert weight is not None
    assert weight.const_value is not None
    matrix: Floats = weight.const_value.numpy()
    return matrix.T if node.op_type == "MatMul" else matrix


def _block(size: int, largest: int = _LARGEST_BLOCK) -> int:
    """The largest block that divides `size`: fewer scales to read, and no padding."""
    block = largest
    while size % block:
        block //= 2
    return block


class _Reducer:
    """Replaces nodes of a graph one by one; what several of them share is written once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._shared: dict[str, ir.Value] = {}

    def look_up(self, node: ir.Node) -> None:
        """An int8 table instead of a Gather; ONNX Runtime multiplies by the same constant in a tied head."""
        tape = Tape()
        block = _block(_matrix(node).shape[1])
        rows, scales = self._int8(node, block)
        apart = tape.op("Unsqueeze", [scales, self._constant("axis_2", np.array([2]))])
        blocks = tape.op(
            "GatherBlockQuantized",
            [rows, node.inputs[1], apart],
            {"bits": 8, "block_size": block, "gather_axis": 0, "quantize_axis": 2},
            domain=CONTRIB,
            name=node.name,
        )
        tape.op("Reshape", [blocks, self._constant("blocks_together", np.array([0, 0, -1]))])
        self._replace(node, tape)

    def multiply_int8(self, node: ir.Node) -> None:
        """A product with symmetric int8 blocks."""
        tape = Tape()
        block = _block(_matrix(node).shape[1])
        _product(tape, node, 8, block, *self._int8(node, block))
        self._replace(node, tape)

    def multiply_rounded(self, node: ir.Node, squares: Floats) -> None:
        """A product with int4 blocks that were rounded by examples; `squares` is of its inputs."""
        tape = Tape()
        matrix = _matrix(node)
        block = _block(matrix.shape[1], _LARGEST_INT4_BLOCK)
        rounded = round_by_examples(matrix, squares, block)
        # Two zero points a byte: an odd number of them is filled up.
        zeros = np.pad(rounded.zeros, ((0, 0), (0, rounded.zeros.shape[1] % 2)))
        arrays = (("int4", pack(rounded.q)), ("scales", rounded.scales), ("zeros", pack(zeros)))
        _product(tape, node, 4, block, *(self._constant(f"{node.name}.{kind}", array) for kind, array in arrays))
        self._replace(node, tape)

    def multiply_affine(self, node: ir.Node) -> None:
        """A product with blocks step * q + least, as step * (q - 8) and, times the blocks' sums, least + 8 * step.

        The fast kernel has whole zero points alone, and rounding `least` to them costs 8 % more bits per byte.
        """
        tape = Tape()
        q, step, least = affine_blocks(_matrix(node))
        packed, steps = self._constant(f"{node.name}.int4", pack(q)), self._constant(f"{node.name}.step", step)
        offset = self._constant(f"{node.name}.offset", np.ascontiguousarray((least + 8 * step).T))
        product = _product(tape, node, 4, INT4_BLOCK, packed, steps)
        x = node.inputs[0]
        assert x is not None
        if f"{x.name}.sums" not in self._shared:
            apart = self._constant("blocks_apart", np.array([0, 0, -1, INT4_BLOCK]))
            last = self._constant("axis_3", np.array([3]))
            sums = tape.op("ReduceSum", [tape.op("Reshape", [x, apart]), last], {"keepdims": 0})
            self._shared[f"{x.name}.sums"] = sums
        offsets = tape.op("MatMul", [self._shared[f"{x.name}.sums"], offset])
        tape.op("Add", [product, offsets])
        self._replace(node, tape)

    def drop_unused(self) -> None:
        """Remove the fp32 weights that nothing reads any more."""
        for name, value in list(self._graph.initializers.items()):
            if not value.uses():
                del self._graph.initializers[name]

    def _int8(self, node: ir.Node, block: int) -> tuple[ir.Value, ir.Value]:
        """The blocks of a weight and their scales."""
        weight = _weight(node)
        assert weight is not None
        if f"{weight.name}.int8" not in self._shared:
            q, scales = symmetric_blocks(_matrix(node), block)
            self._constant(f"{weight.name}.int8", q)
            self._constant(f"{weight.name}.scales", scales)
        return self._shared[f"{weight.name}.int8"], self._shared[f"{weight.name}.scales"]

    def _constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        if name not in self._shared:
            value = ir.val(name, const_value=ir.tensor(array))
            self._graph.register_initializer(value)
            self._shared[name] = value
        return self._shared[name]

    def _replace(self, node: ir.Node, tape: Tape) -> None:
        """Put the tape's nodes in the place of a node; the last one's output takes its output's name."""
        before, after = node.outputs[0], tape.nodes[-1].outputs[0]
        name, before.name = before.name, None
        ir.convenience.replace_nodes_and_values(self._graph, node, [node], tape.nodes, [before], [after])
        after.name = name


def _product(tape: Tape, node: ir.Node, bits: int, block: int, *constants: ir.Value) -> ir.Value:
    """`constants` are the packed blocks, their scales and, where they are not in the middle, their zero points."""
    outputs, inputs = _matrix(node).shape
    return tape.op(
        "MatMulNBits",
        [node.inputs[0], *constants],
        {"K": inputs, "N": outputs, "bits": bits, "block_size": block, "accuracy_level": _INT8_ACTIVATIONS},
        domain=CONTRIB,
        name=node.name,
    )
