import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pipeline.engines.tflite import flatbuffer


def _model(*contents: np.ndarray) -> schema.ModelT:
    model = schema.ModelT()
    model.version, model.description = 3, b"test"
    model.buffers = []
    for content in contents:
        buffer = schema.BufferT()
        buffer.data = content
        model.buffers.append(buffer)
    return model


def test_equal_buffers_are_stored_once_and_read_back_equal() -> None:
    content = np.arange(4096, dtype=np.uint32).view(np.uint8)
    once, twice = flatbuffer.write(_model(content)), flatbuffer.write(_model(content, content.copy()))
    assert len(twice) - len(once) < 64
    assert [bytes(buffer.data) for buffer in flatbuffer.read(twice).buffers] == [content.tobytes()] * 2


def test_different_buffers_stay_apart() -> None:
    first, second = np.zeros(100, np.uint8), np.ones(100, np.uint8)
    buffers = flatbuffer.read(flatbuffer.write(_model(first, second))).buffers
    assert [buffer.data.tolist() for buffer in buffers] == [first.tolist(), second.tolist()]


def test_buffers_lie_where_kernels_may_load_them() -> None:
    contents = [np.full(size, size, np.uint8) for size in (33, 77, 129)]
    written = flatbuffer.write(_model(*contents))
    assert [written.index(content.tobytes()) % 16 for content in contents] == [0, 0, 0]


def test_writing_again_changes_nothing() -> None:
    written = flatbuffer.write(_model(np.arange(64, dtype=np.uint8)))
    assert flatbuffer.write(flatbuffer.read(written)) == written


def test_signature_tensors_get_the_callers_names() -> None:
    signature = schema.SignatureDefT()
    signature.inputs, signature.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    signature.inputs[0].name, signature.outputs[0].name = b"args_0", b"output_0"
    model = schema.ModelT()
    model.signatureDefs = [signature]
    flatbuffer.rename_signature_tensors(model, {"args_0": "ids"}, {"output_0": "embedding"})
    assert (signature.inputs[0].name, signature.outputs[0].name) == (b"ids", b"embedding")
