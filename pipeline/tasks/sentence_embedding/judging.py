"""Quality of a sentence encoder on texts whose packages it never saw."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline import weights
from pipeline.engines.rows import rows
from pipeline.layout import REPORT, TOKENIZER, ModelLayout
from pipeline.records.step import StepReport
from pipeline.runtime.session import Session
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.text import quality, storage
from pipeline.text.tokens import Tokens, examples, load_tokenizer, tokenize

EVALUATION = "evaluation.safetensors"


def evaluate(session: Session, params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
    """Fidelity to the teacher on held-out sentences, and recall on the retrieval pairs.

    Texts are cut as on the device: an export ends at its longest shape, whatever the student could take.
    """
    tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
    return judge(session, tokenizer, paths, served_tokens(params))


def score(session: Session, params: ModelParams, paths: ModelLayout) -> float:
    """Fidelity to the teacher on the validation texts."""
    tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
    wanted = weights.load_tensors(paths.teacher / EVALUATION)["validation"]
    texts = storage.load_texts(paths.data / storage.VALIDATION)
    given = rows(session, examples(tokenize(texts, tokenizer, served_tokens(params))), "score")
    return quality.fidelity_spearman(given, wanted)


def teacher_quality(paths: ModelLayout) -> Mapping[str, float]:
    """The teacher's quality as the teacher stage measured it; its fidelity to itself is 1."""
    return {"fidelity_spearman": 1.0, **StepReport.read(paths.teacher / REPORT).quality}


def judge(session: Session, tokenizer: Tokenizer, paths: ModelLayout, max_tokens: int) -> dict[str, float]:
    """Fidelity and recall of a model that reads what `tokenizer` makes, cut at `max_tokens`."""
    wanted = weights.load_tensors(paths.teacher / EVALUATION)
    tokens = evaluation_tokens(paths.data, tokenizer, max_tokens)
    given: dict[str, NDArray[np.float32]] = {
        name: rows(session, examples(tokens[name]), f"evaluate: {name}")
        for name in ("heldout", "summaries", "bodies")
        if name in tokens
    }
    return {
        "fidelity_spearman": quality.fidelity_spearman(given["heldout"], wanted["heldout"]),
        **retrieval_quality(given),
    }


def served_tokens(params: ModelParams) -> int:
    """The number of tokens at which a device cuts a text."""
    longest = max(params.export.lengths)
    return longest if params.student is None else min(params.student.max_tokens, longest)


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
    """Recall at 1 and 10 of each summary's own body; empty where there are no pairs."""
    if "summaries" not in embeddings:
        return {}
    queries, bodies = embeddings["summaries"], embeddings["bodies"]
    return {f"recall_at_{count}": quality.recall_at(queries, bodies, count) for count in (1, 10)}
