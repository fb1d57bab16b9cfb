"""Shapes that a sentence encoder is served with, and real inputs of these shapes."""

from collections.abc import Sequence

import numpy as np

from pipeline.engines.spec import Arrays, Case, ModelSpec, TensorSpec, signature_name
from pipeline.errors import InputError
from pipeline.layout import TOKENIZER, ModelLayout
from pipeline.tasks.sentence_embedding.judging import examples
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text import storage
from pipeline.text.tokens import load_tokenizer, tokenize

_INPUTS = (
    TensorSpec("input_ids", "int32", ("batch", "length")),
    TensorSpec("attention_mask", "int32", ("batch", "length")),
)


def model_spec(params: ModelParams) -> ModelSpec:
    """Ids and mask in, one vector a text out; each length at batch 1, and the throughput batch."""
    shapes = [{"batch": 1, "length": length} for length in params.export.lengths]
    if params.export.batch > 1:
        shapes.append({"batch": params.export.batch, "length": params.budgets.case.length})
    return ModelSpec(_INPUTS, TensorSpec("sentence_vector", "float32", ("batch", "dim")), tuple(shapes))


def teacher_spec(params: ModelParams) -> ModelSpec:
    """The shape at which latency is judged, and no other: it is only the reference."""
    spec = model_spec(params)
    return ModelSpec(spec.inputs, spec.output, ({"batch": 1, "length": params.budgets.case.length},))


def comparison_inputs(params: ModelParams, paths: ModelLayout, count: int) -> Sequence[Arrays]:
    """Held-out sentences that fit the shape at which latency is judged."""
    tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
    texts = storage.load_texts(paths.data / storage.HELDOUT)[:count]
    return examples(tokenize(texts, tokenizer, params.budgets.case.length))


def cases(params: ModelParams, paths: ModelLayout) -> Sequence[Case]:
    """Each served shape, filled with real text to its last token."""
    tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
    text = " ".join(storage.load_texts(paths.data / storage.HELDOUT)[: 20 * max(1, params.export.batch)])
    made = []
    for shape in model_spec(params).shapes:
        batch, length = shape["batch"], shape["length"]
        words = text.split()
        rows = [tokenize([" ".join(words[i * length :])], tokenizer, length).ids for i in range(batch)]
        if any(len(row) != length for row in rows):
            raise InputError(f"the held-out texts are too short to fill {length} tokens: give more text")
        ids = np.stack(rows).astype(np.int32)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        made.append(Case(signature_name(shape), shape, inputs))
    return made
