"""Writes a graph of a `.tflite` file operator by operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pipeline.engines.tflite.graph_file import TYPES, Constant, File


@dataclass(frozen=True)
class Tensor:
    """What an operator of one graph gives."""

    index: int
    shape: tuple[int, ...]


class Graph:
    """One signature in the making. Each method adds one operator, and gives its output."""

    def __init__(self, file: File, key: str) -> None:
        self.file, self._key = file, key
        self._graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=key.encode())
        self._inputs: dict[str, int] = {}
        self._constants: dict[int, Tensor] = {}

    def input(self, name: str, shape: Sequence[int], dtype: type[np.generic] = np.float32) -> Tensor:
        """An input that callers know by `name`."""
        made = self._tensor(tuple(shape), TYPES[np.dtype(dtype)], name)
        self._inputs[name] = made.index
        return made

    def finish(self, outputs: Mapping[str, Tensor]) -> None:
        """Give the graph to the file, with outputs by the names that callers use."""
        named = {name: tensor.index for name, tensor in outputs.items()}
        self._graph.inputs, self._graph.outputs = list(self._inputs.values()), list(named.values())
        self.file.add(self._graph, self._key, self._inputs, named)

    def of(self, constant: Constant) -> Tensor:
        """A constant as a tensor of this graph."""
        if constant.buffer not in self._constants:
            made = self._tensor(constant.shape, constant.type, constant.name, constant.buffer)
            self._constants[constant.buffer] = made
            self._graph.tensors[made.index].quantization = self._quantization(constant)
        return self._constants[constant.buffer]

    def product(self, x: Tensor, matrix: Constant, bias: Constant | None = None) -> Tensor:
        """`x [n, in]` times `matrix [out, in]`, transposed; int8 and int4 matrices round `x` a row as it comes."""
        inputs = [x, self.of(matrix), *([] if bias is None else [self.of(bias)])]
        options = schema.FullyConnectedOptionsT(
            keepNumDims=True, asymmetricQuantizeInputs=matrix.type != schema.TensorType.FLOAT32
        )
        return self._operator("FULLY_CONNECTED", inputs, (*x.shape[:-1], matrix.shape[0]), options)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """`a [..., n, k]` times `b [..., k, m]`."""
        return self._operator("BATCH_MATMUL", [a, b], (*a.shape[:-1], b.shape[-1]), schema.BatchMatMulOptionsT())

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """`a + b`, broadcast."""
        return self._binary("ADD", a, b, schema.AddOptionsT())

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        """`a - b`, broadcast."""
        return self._binary("SUB", a, b, schema.SubOptionsT())

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """`a * b`, broadcast."""
        return self._binary("MUL", a, b, schema.MulOptionsT())

    def minimum(self, a: Tensor, b: Tensor) -> Tensor:
        """The smaller ones, broadcast."""
        return self._binary("MINIMUM", a, b, schema.MaximumMinimumOptionsT())

    def rsqrt(self, x: Tensor) -> Tensor:
        """`1 / sqrt(x)`."""
        return self._operator("RSQRT", [x], x.shape)

    def logistic(self, x: Tensor) -> Tensor:
        """`1 / (1 + exp(-x))`."""
        return self._operator("LOGISTIC", [x], x.shape)

    def softmax(self, x: Tensor) -> Tensor:
        """Over the last axis."""
        return self._operator("SOFTMAX", [x], x.shape, schema.SoftmaxOptionsT(beta=1.0))

    def mean(self, x: Tensor) -> Tensor:
        """Over the last axis, which stays with size 1."""
        return self._reduce("MEAN", x)

    def sum(self, x: Tensor) -> Tensor:
        """Over the last axis, which stays with size 1."""
        return self._reduce("SUM", x)

    def as_float(self, x: Tensor) -> Tensor:
        """int32 as float32."""
        options = schema.CastOptionsT(inDataType=schema.TensorType.INT32, outDataType=schema.TensorType.FLOAT32)
        return self._operator("CAST", [x], x.shape, options)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements in another shape."""
        wanted = self.of(self.file.shared(np.array(shape, np.int32)))
        options = schema.ReshapeOptionsT(newShape=list(shape))
        return self._operator("RESHAPE", [x, wanted], tuple(shape), options, self._type(x))

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Axes in another order."""
        order = self.of(self.file.shared(np.array(axes, np.int32)))
        shape = tuple(x.shape[axis] for axis in axes)
        return self._operator("TRANSPOSE", [x, order], shape, schema.TransposeOptionsT())

    def part(self, x: Tensor, axis: int, start: int, stop: int) -> Tensor:
        """`x[..., start:stop, ...]` along one axis."""
        shape = [stop - start if one == axis else size for one, size in enumerate(x.shape)]
        begin = [start if one == axis else 0 for one in range(len(shape))]
        bounds = [self.of(self.file.shared(np.array(values, np.int32))) for values in (begin, shape)]
        return self._operator("SLICE", [x, *bounds], tuple(shape), schema.SliceOptionsT())

    def concatenate(self, tensors: Sequence[Tensor]) -> Tensor:
        """Behind each other along the last axis."""
        shape, axis = tensors[0].shape, len(tensors[0].shape) - 1
        joined = (*shape[:-1], sum(tensor.shape[-1] for tensor in tensors))
        options = schema.ConcatenationOptionsT(axis=axis)
        return self._operator("CONCATENATION", list(tensors), joined, options, self._type(tensors[0]))

    def gather(self, x: Tensor, rows: Tensor) -> Tensor:
        """`x[rows]`."""
        return self._operator("GATHER", [x, rows], (*rows.shape, *x.shape[1:]), schema.GatherOptionsT())

    def put(self, x: Tensor, part: Tensor, start: Tensor) -> Tensor:
        """`x` with `part` in it, from the indices `start` on. In place where a caller binds one buffer to both ends."""
        return self._operator("DYNAMIC_UPDATE_SLICE", [x, part, start], x.shape, schema.DynamicUpdateSliceOptionsT())

    def look_up(self, table: Constant, rows: Tensor) -> Tensor:
        """Rows `[n]` of a table, as float32; an int8 one gives the numbers that it stands for."""
        return self._operator("EMBEDDING_LOOKUP", [rows, self.of(table)], (*rows.shape, table.shape[1]))

    def _reduce(self, kind: str, x: Tensor) -> Tensor:
        axis = self.of(self.file.shared(np.array([len(x.shape) - 1], np.int32)))
        return self._operator(kind, [x, axis], (*x.shape[:-1], 1), schema.ReducerOptionsT(keepDims=True))

    def _binary(self, kind: str, a: Tensor, b: Tensor, options: Any) -> Tensor:
        return self._operator(kind, [a, b], np.broadcast_shapes(a.shape, b.shape), options, self._type(a))

    def _operator(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: tuple[int, ...],
        options: Any = None,
        dtype: int = schema.TensorType.FLOAT32,
    ) -> Tensor:
        made = self._tensor(shape, dtype, f"{kind.lower()}.{len(self._graph.operators)}")
        operator = schema.OperatorT(self.file.code(kind), [one.index for one in inputs], [made.index])
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        self._graph.operators.append(operator)
        return made

    def _tensor(self, shape: tuple[int, ...], dtype: int, name: str, buffer: int = 0) -> Tensor:
        made = schema.TensorT(list(shape), dtype, buffer, name.encode(), hasRank=True)
        self._graph.tensors.append(made)
        return Tensor(len(self._graph.tensors) - 1, shape)

    def _type(self, tensor: Tensor) -> int:
        found: int = self._graph.tensors[tensor.index].type
        return found

    def _quantization(self, constant: Constant) -> Any:
        if constant.blocks is not None:
            details = schema.BlockwiseQuantizationT(
                scales=self.of(constant.blocks).index,
                zeroPoints=-1,
                blockSize=constant.shape[1] // constant.blocks.shape[1],
            )
            kind = schema.QuantizationDetails.BlockwiseQuantization
            return schema.QuantizationParametersT(detailsType=kind, details=details)
        if constant.scales is None:
            return None
        return schema.QuantizationParametersT(
            scale=constant.scales, zeroPoint=np.zeros(constant.scales.size, np.int64), quantizedDimension=0
        )
