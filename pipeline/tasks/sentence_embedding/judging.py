"""Quality of a sentence encoder on texts whose packages it never saw."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from pipeline import weights
from pipeline.engines.spec import Arrays
from pipeline.layout import ModelLayout
from pipeline.tasks.base import Encode
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text import label, quality, storage
from pipeline.text.tokens import Tokens, tokenize

EVALUATION = "evaluation.safetensors"


def judge(
    encode: Encode, tokenizer: Tokenizer, params: ModelParams, paths: ModelLayout, max_tokens: int | None = None
) -> Mapping[str, float]:
    """Fidelity to the teacher on held-out sentences, and recall on the retrieval pairs where there are any.

    `max_tokens` is where texts are cut: by default where the student ends.
    """
    wanted = weights.load_tensors(paths.teacher / EVALUATION)
    tokens = evaluation_tokens(paths.data, tokenizer, max_tokens or params.student.max_tokens)
    given: dict[str, NDArray[np.float32]] = {
        name: encode(examples(tokens[name])) for name in ("heldout", "summaries", "bodies") if name in tokens
    }
    return {
        "fidelity_spearman": quality.fidelity_spearman(given["heldout"], wanted["heldout"]),
        **retrieval_quality(given),
    }


def validation_fidelity(encode: Encode, tokenizer: Tokenizer, paths: ModelLayout, max_tokens: int) -> float:
    """Fidelity to the teacher on the validation texts, cut at `max_tokens`."""
    wanted = weights.load_tensors(paths.teacher / EVALUATION)["validation"]
    texts = storage.load_texts(paths.data / storage.VALIDATION)
    return quality.fidelity_spearman(encode(examples(tokenize(texts, tokenizer, max_tokens))), wanted)


def torch_encode(model: nn.Module, batch_tokens: int = 4096) -> Encode:
    """Run a PyTorch model over examples, in batches of similar length."""

    def encode(examples: Sequence[Arrays]) -> NDArray[np.float32]:
        lengths = [example["input_ids"].shape[1] for example in examples]
        ids = np.concatenate([example["input_ids"][0] for example in examples])
        tokens = Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return label.embed(model, tokens, batch_tokens, "evaluate")

    return encode


def evaluation_tokens(data: Path, tokenizer: Tokenizer, max_tokens: int) -> dict[str, Tokens]:
    """The evaluation texts by name: validation, heldout, and summaries and bodies where there are pairs."""
    texts = {
        "validation": storage.load_texts(data / storage.VALIDATION),
        "heldout": storage.load_texts(data / storage.HELDOUT),
    }
    pairs = storage.load_pairs(data / storage.RETRIEVAL)
    if pairs:
        texts["summaries"] = [pair.summary for pair in pairs]
        texts["bodies"] = [pair.body for pair in pairs]
    return {name: tokenize(split_texts, tokenizer, max_tokens) for name, split_texts in texts.items()}


def retrieval_quality(embeddings: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    """Recall at 1 and 10 of each summary's own body; nothing where there are no pairs."""
    if "summaries" not in embeddings:
        return {}
    queries, bodies = embeddings["summaries"], embeddings["bodies"]
    return {f"recall_at_{count}": quality.recall_at(queries, bodies, count) for count in (1, 10)}


def examples(tokens: Tokens) -> list[Arrays]:
    """Each text as the inputs of one call, int32 `[1, length]`."""
    made: list[Arrays] = []
    for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids = tokens.ids[None, start:end]
        made.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return made
