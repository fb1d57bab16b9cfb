"""A text encoder of a few kilobytes for every engine: mean of word vectors, unit length, and a word tokenizer.

Written op by op, so that tests of the runtime need neither torch nor a converter.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import openvino
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

_WORDS = "[UNK] [CLS] [SEP] read a csv file parse date string open socket sort list of numbers"
WORDS = tuple(_WORDS.split())
DIM = 12
SHAPES = ((1, 8), (1, 16), (4, 8))
PRECISION = {"weights": "fp32", "activations": "fp32", "inference": "f32", "cache": "none"}
Table = NDArray[np.float32]


def word_vectors(seed: int = 0) -> Table:
    """Seeded float32 [words, DIM]."""
    return np.random.default_rng(seed).normal(size=(len(WORDS), DIM)).astype(np.float32)


def expected(table: Table, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
    """What every engine must return."""
    total = (table[ids] * mask[..., None]).sum(axis=1)
    unit: NDArray[np.float32] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return unit


def write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    # A tokenizer that pads, as many published ones do: the runtime must not.
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(path))


def onnx_model(table: Table) -> onnx.ModelProto:
    axes = ["batch", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["vectors", "column"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "tokens"], ["total"], keepdims=0),
            helper.make_node("LpNormalization", ["total"], ["embedding"], axis=-1, p=2),
        ],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT32, axes) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIM])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "tokens"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write_model(engine: str, path: Path, table: Table, shapes: Sequence[tuple[int, int]] = SHAPES) -> None:
    """Write the model for one engine; `shapes` are the signatures of TensorFlow Lite."""
    if engine == "onnxruntime":
        onnx.save(onnx_model(table), str(path))
    elif engine == "openvino":
        source = path.with_suffix(".source.onnx")
        onnx.save(onnx_model(table), str(source))
        openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
        source.unlink()
    else:
        path.write_bytes(_tflite(table, shapes))


def _tflite(table: Table, shapes: Sequence[tuple[int, int]]) -> bytes:
    op = schema.BuiltinOperator
    codes = [op.GATHER, op.CAST, op.RESHAPE, op.MUL, op.SUM, op.L2_NORMALIZATION]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [_code(code) for code in codes]
    model.buffers = [_buffer(b""), _buffer(table.tobytes()), _buffer(np.array([1], np.int32).tobytes())]
    model.subgraphs, model.signatureDefs = [], []
    for index, (batch, length) in enumerate(shapes):
        model.buffers.append(_buffer(np.array([batch, length, 1], np.int32).tobytes()))
        model.subgraphs.append(_subgraph(batch, length, shape_buffer=len(model.buffers) - 1))
        model.signatureDefs.append(_signature(f"b{batch}_l{length}", index))
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _subgraph(batch: int, length: int, shape_buffer: int) -> Any:
    kind, options = schema.TensorType, schema.BuiltinOptions
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("input_ids", (batch, length), kind.INT32),
        _tensor("attention_mask", (batch, length), kind.INT32),
        _tensor("table", (len(WORDS), DIM), kind.FLOAT32, 1),
        _tensor("tokens", (1,), kind.INT32, 2),
        _tensor("shape", (3,), kind.INT32, shape_buffer),
        _tensor("vectors", (batch, length, DIM), kind.FLOAT32),
        _tensor("mask", (batch, length), kind.FLOAT32),
        _tensor("column", (batch, length, 1), kind.FLOAT32),
        _tensor("kept", (batch, length, DIM), kind.FLOAT32),
        _tensor("total", (batch, DIM), kind.FLOAT32),
        _tensor("embedding", (batch, DIM), kind.FLOAT32),
    ]
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = kind.INT32, kind.FLOAT32
    graph.operators = [
        _operator(0, [2, 0], 5, options.GatherOptions, schema.GatherOptionsT()),
        _operator(1, [1], 6, options.CastOptions, cast),
        _operator(2, [6, 4], 7, options.NONE, None),
        _operator(3, [5, 7], 8, options.MulOptions, schema.MulOptionsT()),
        _operator(4, [8, 3], 9, options.ReducerOptions, schema.ReducerOptionsT()),
        _operator(5, [9], 10, options.L2NormOptions, schema.L2NormOptionsT()),
    ]
    graph.inputs, graph.outputs = [0, 1], [10]
    return graph


def _signature(key: str, subgraph: int) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, subgraph
    signature.inputs = [_tensor_map("input_ids", 0), _tensor_map("attention_mask", 1)]
    signature.outputs = [_tensor_map("embedding", 10)]
    return signature


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    return code


def _buffer(content: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8) if content else None
    return buffer


def _tensor(name: str, shape: tuple[int, ...], dtype: int, buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), dtype, buffer
    return tensor


def _operator(code: int, inputs: list[int], output: int, options: int, value: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = options, value
    return operator
