"""Language models in TensorFlow Lite: the file of a decoder with a cache, and its reduced variants.

The graph is written by hand (`decoder_graph`), in seconds: litert-torch takes half a minute a signature. Reduced
variants are written anew with other products (`decoder_products`), from the weights that the fp32 file holds.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engines.exporter import missing_layers
from pipeline.engines.spec import ModelSpec, signature_name
from pipeline.engines.tflite.decoder_graph import Store, add_signature, rotation_tables
from pipeline.engines.tflite.decoder_products import Write, float_product, int4_product, int8_product
from pipeline.engines.tflite.decoder_weights import HEAD, TABLE, Weights, weights_of
from pipeline.engines.tflite.graph_file import File
from pipeline.layout import Engine, Variant
from pipeline.students.decoder import Decoder, DecoderConfig

# Metadata of the file: config.json of the decoder.
_CONFIG = "decoder"
_WRITERS: Mapping[Variant, Write] = {
    Variant.FP32: float_product,
    Variant.INT8: int8_product,
    Variant.INT4: int4_product,
}


def export(model: Decoder, spec: ModelSpec, out: Path) -> None:
    """Write a decoder in fp32, with the signatures of `signatures`."""
    weights = weights_of(model)
    _write(model.config, weights, spec, {name: Variant.FP32 for name in weights}, out)


def quantize(model: Any, fp32: Path, spec: ModelSpec, out: Path, precision: Variant, keep: Collection[str]) -> None:
    """Write a reduced variant.

    int8 has a scale a row. int4 has affine blocks of 32, but for the table of embeddings, which is int8. Its head is a
    copy of the table in 4 bits where the model has none of its own: the file is larger, and a token takes less time,
    because a head reads all of its rows and an embedding one.

    Args:
        model: of the fp32 file.
        fp32: that file's path, for messages.
        spec: that of the export.
        out: the file to write.
        precision: INT8 or INT4.
        keep: matrices to leave in fp32, by name: `table`, `head` (where it is one of its own), `0.qkv`, `0.down`. A
            table that stays in fp32 is the head, too.
    """
    config, weights = _read(model)
    names = {name for name, array in weights.items() if _is_matrix(name, array.ndim)}
    if set(keep) - names:
        raise missing_layers(Engine.TFLITE, fp32, keep, names)
    if precision is Variant.INT4 and TABLE not in keep:
        weights = {HEAD: weights[TABLE], **weights}
    variants = {name: Variant.INT8 if name == TABLE else precision for name in weights}
    _write(config, weights, spec, variants | {name: Variant.FP32 for name in keep}, out)


def is_decoder(model: Any) -> bool:
    """Whether a flatbuffer was written here."""
    return any(note.name == _CONFIG.encode() for note in model.metadata or [])


def signatures(spec: ModelSpec) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Name and sizes of each signature: those of `spec.shapes`, and two more for each size of the cache.

    One gives logits of all its tokens, to score texts and to check drafts: of the shortest length above 1. One starts
    a text with the longest length, and computes nothing with the empty cache; its `start` is 1.
    """
    for shape in spec.shapes:
        yield signature_name(shape), {**shape, "start": 0}
    lengths = sorted({shape["tokens"] for shape in spec.shapes} - {1})
    for cache in dict.fromkeys(shape["cache"] for shape in spec.shapes) if lengths else ():
        every = {"batch": 1, "tokens": lengths[0], "rows": lengths[0], "cache": cache}
        yield signature_name(every), {**every, "start": 0}
        first = {"batch": 1, "tokens": lengths[-1], "rows": 1, "cache": cache}
        yield f"{signature_name(first)}_start", {**first, "start": 1}


def _write(
    config: DecoderConfig, weights: Weights, spec: ModelSpec, variants: Mapping[str, Variant], out: Path
) -> None:
    file = File("bardlet decoder")
    vectors = {n: file.constant(n, array) for n, array in weights.items() if not _is_matrix(n, array.ndim)}
    products = {
        name: _WRITERS[variants[name]](file, name, array, vectors.get(f"{name}_bias"))
        for name, array in weights.items()
        if name not in vectors
    }
    # The head is the table where the model has none of its own. Both are stored by row, so one copy serves both.
    products.setdefault(HEAD, products[TABLE])
    caches = [shape["cache"] for shape in spec.shapes]
    store = Store(config, products[TABLE].matrix, vectors, products, rotation_tables(file, config, max(caches)))
    for key, shape in signatures(spec):
        add_signature(file, key, store, shape)
    file.note(_CONFIG, json.dumps(config.as_json(), sort_keys=True).encode())
    file.write(out)


def _is_matrix(name: str, axes: int) -> bool:
    """Whether an array is multiplied by; the norms of the halves of heads are not, though they have two axes."""
    return axes == 2 and not name.endswith("_norm")


def _read(model: Any) -> tuple[DecoderConfig, Weights]:
    """What `export` stored."""
    [note] = [note for note in model.metadata if note.name == _CONFIG.encode()]
    config = DecoderConfig.from_json(json.loads(bytes(model.buffers[note.buffer].data)))
    # Every signature uses every weight.
    stored = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors if tensor.buffer}
    arrays = {
        name: np.asarray(model.buffers[tensor.buffer].data).view(np.float32).reshape(tensor.shape)
        for name, tensor in stored.items()
        if not name.startswith(File.PRIVATE)
    }
    return config, arrays
