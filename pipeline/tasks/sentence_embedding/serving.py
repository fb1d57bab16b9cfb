"""Shapes that a sentence encoder is served with, and real inputs of these shapes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.engines.spec import Arrays, Case, ModelSpec, TensorSpec, signature_name
from pipeline.errors import InputError
from pipeline.layout import TOKENIZER, WEIGHTS, ModelLayout
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text import storage
from pipeline.text.encoder import load_encoder
from pipeline.text.tokens import examples, load_tokenizer, tokenize

_INPUTS = (
    TensorSpec("input_ids", "int32", ("batch", "length")),
    TensorSpec("attention_mask", "int32", ("batch", "length")),
)
# Reports state the multiply-accumulates of a text of this length.
_COUNTED_TOKENS = 32


def example() -> dict[str, Tensor]:
    """The text for which multiply-accumulates are counted, int32 `[1, 32]` each."""
    ones = torch.ones(1, _COUNTED_TOKENS, dtype=torch.int32)
    return {"input_ids": ones, "attention_mask": ones}


def load_teacher(paths: ModelLayout) -> nn.Module | None:
    """The teacher's encoder; None for a SavedModel."""
    checkpoint = paths.teacher_checkpoint
    return load_encoder(checkpoint) if (checkpoint / WEIGHTS).exists() else None


def model_spec(params: ModelParams, paths: ModelLayout) -> ModelSpec:
    """Ids and mask in, one vector a text out; each length at batch 1, and the throughput batch."""
    shapes = [{"batch": 1, "length": length} for length in params.export.lengths]
    if params.export.batch > 1:
        shapes.append({"batch": params.export.batch, "length": _judged_length(params)})
    return ModelSpec(_INPUTS, TensorSpec("sentence_vector", "float32", ("batch", "dim")), tuple(shapes))


def teacher_spec(params: ModelParams, paths: ModelLayout) -> ModelSpec:
    """The teacher's spec, with the one shape at which latency is judged: it serves comparison alone."""
    spec = model_spec(params, paths)
    return ModelSpec(spec.inputs, spec.output, ({"batch": 1, "length": _judged_length(params)},))


def comparison_inputs(params: ModelParams, paths: ModelLayout, count: int) -> Sequence[Arrays]:
    """Held-out sentences that fit the shape at which latency is judged, int32 `[1, length]` each."""
    tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
    texts = storage.load_texts(paths.data / storage.HELDOUT)[:count]
    return examples(tokenize(texts, tokenizer, _judged_length(params)))


def cases(params: ModelParams, paths: ModelLayout) -> Sequence[Case]:
    """Each served shape, filled with real text to its last token."""
    tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
    text = " ".join(storage.load_texts(paths.data / storage.HELDOUT)[: 20 * max(1, params.export.batch)])
    made = []
    for shape in model_spec(params, paths).shapes:
        batch, length = shape["batch"], shape["length"]
        words = text.split()
        rows = [tokenize([" ".join(words[i * length :])], tokenizer, length).ids for i in range(batch)]
        if any(len(row) != length for row in rows):
            raise InputError(f"the held-out texts are too short to fill {length} tokens: give more text")
        ids = np.stack(rows).astype(np.int32)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        made.append(Case(signature_name(shape), shape, inputs))
    return made


def _judged_length(params: ModelParams) -> int:
    """Tokens of the first case that has budgets."""
    return next(iter(params.budgets.judged().values())).shape()["length"]
