"""A classifier of a few hundred bytes for every engine, one linear layer, and a release of it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import openvino
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.runtime.images import Preprocessing
from tests.runtime import tiny

SIZE = 4
LABELS = ("top", "bottom", "dark")
HOW = Preprocessing(SIZE, SIZE, 1, "crop", LABELS)
SUFFIX = {"onnxruntime": ".onnx", "openvino": ".xml", "tflite": ".tflite"}
Weights = NDArray[np.float32]


def weights() -> Weights:
    """float32 [3, 16] of pixels 0..255: bright on top, bright at the bottom, and neither."""
    rows = np.repeat([1.0, 0.5, -0.5, -1.0], SIZE)
    return (np.stack([rows, -rows, np.full(SIZE * SIZE, -0.1)]) / 255).astype(np.float32)


BIAS = np.array([0, 0, 1], np.float32)


def expected(prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What every engine must return for uint8 `[n, 1, 4, 4]`."""
    logits: NDArray[np.float32] = prepared.reshape(len(prepared), -1).astype(np.float32) @ weights().T + BIAS
    return logits


def picture(kind: str, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    """A gray image of which the class is clear."""
    image = np.zeros((height, width), np.uint8)
    image[{"top": slice(0, height // 2), "bottom": slice(height // 2, None), "dark": slice(0, 0)}[kind]] = 250
    return image


def write_model(engine: str, path: Path, sign: float = 1) -> None:
    """Write the classifier for one engine; `sign` -1 makes another model of it."""
    if engine == "tflite":
        path.write_bytes(_tflite(sign * weights()))
        return
    source = path.with_suffix(".source.onnx") if engine == "openvino" else path
    onnx.save(_onnx(sign * weights()), str(source))
    if engine == "openvino":
        openvino.save_model(openvino.convert_model(source), path, compress_to_fp16=False)
        source.unlink()


def write_release(folder: Path, **changes: Any) -> Path:
    """A release of all engines; keywords replace fields of its manifest."""
    folder.mkdir()
    (folder / "preprocessing.json").write_text(json.dumps(HOW.as_json()))
    engines = {}
    for engine, suffix in SUFFIX.items():
        (folder / engine).mkdir()
        write_model(engine, folder / engine / f"int8{suffix}")
        names = sorted(path.relative_to(folder).as_posix() for path in (folder / engine).iterdir())
        model = f"{engine}/int8{suffix}"
        engines[engine] = {"variant": "int8", "model": model, "files": names, "precision": tiny.PRECISION}
    files = {path.relative_to(folder).as_posix(): describe(path) for path in folder.rglob("*") if path.is_file()}
    manifest = {
        "format": "bardlet-release",
        "format_version": 2,
        "model": "tiny",
        "verb": "classify",
        "task": "image_classification",
        "preprocessing": "preprocessing.json",
        "golden": "golden.json",
        "engines": engines,
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def describe(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest."""
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _onnx(matrix: Weights) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["pixels"], axis=1),
            helper.make_node("Gemm", ["pixels", "matrix", "bias"], ["logits"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(matrix.astype(np.float32), "matrix"), numpy_helper.from_array(BIAS, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _tflite(matrix: Weights) -> bytes:
    kind, options, op = schema.TensorType, schema.BuiltinOptions, schema.BuiltinOperator
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [tiny._code(op.RESHAPE), tiny._code(op.FULLY_CONNECTED)]
    shape = np.array([1, SIZE * SIZE], np.int32)
    contents = (b"", matrix.astype(np.float32).tobytes(), BIAS.tobytes(), shape.tobytes())
    model.buffers = [tiny._buffer(content) for content in contents]
    graph = schema.SubGraphT()
    graph.tensors = [
        tiny._tensor("image", (1, 1, SIZE, SIZE), kind.FLOAT32),
        tiny._tensor("matrix", matrix.shape, kind.FLOAT32, 1),
        tiny._tensor("bias", BIAS.shape, kind.FLOAT32, 2),
        tiny._tensor("shape", (2,), kind.INT32, 3),
        tiny._tensor("pixels", (1, SIZE * SIZE), kind.FLOAT32),
        tiny._tensor("logits", (1, len(LABELS)), kind.FLOAT32),
    ]
    graph.operators = [
        tiny._operator(0, [0, 3], 4, options.NONE, None),
        tiny._operator(1, [4, 1, 2], 5, options.FullyConnectedOptions, schema.FullyConnectedOptionsT()),
    ]
    graph.inputs, graph.outputs = [0], [5]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "b1", 0
    signature.inputs, signature.outputs = [tiny._tensor_map("image", 0)], [tiny._tensor_map("logits", 5)]
    model.subgraphs, model.signatureDefs = [graph], [signature]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
