"""Distillation, pruning and quantization of a sentence encoder; each step is saved with what it measured."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline import cost, files, weights
from pipeline.compress import fake_int8 as quantization
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.embeddings import distill as distillation
from pipeline.compress.embeddings import vocabulary
from pipeline.compress.embeddings.losses import EmbeddingLoss
from pipeline.compress.embeddings.prune import PrunedEncoder, Vocabulary, Wish, prune_encoder
from pipeline.compress.training import Schedule, TrainReport, steps_of
from pipeline.layout import CALIBRATION, REPORT, TOKENIZER, WEIGHTS, ModelLayout
from pipeline.progress import note
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.tasks.sentence_embedding.judging import judge, torch_encode
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.tasks.sentence_embedding.size import describe_size, example
from pipeline.tasks.sentence_embedding.teacher import VOCABULARY, load_labels
from pipeline.text import storage
from pipeline.text.pairs import passage_pairs
from pipeline.text.tokens import Tokens, load_tokenizer, tokenize

# Fewer leave nothing to tell apart in a batch.
_MIN_PAIRS = 16


def distill(params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
    """Start from the teacher's vocabulary, then learn its embeddings of the training texts."""
    torch.manual_seed(seed)
    tokens, targets = load_labels(paths)
    table = weights.load_tensors(paths.teacher / VOCABULARY)["embeddings"].astype(np.float32)
    student, settings = params.student, params.distill
    model = TextEncoder(
        TextEncoderConfig(
            len(table),
            student.embedding_dim,
            student.hidden_dim,
            student.heads,
            (student.ffn_dim,) * student.layers,
            student.max_tokens,
            targets.shape[1],
        )
    )
    kept = distillation.start_from_teacher(model, table, np.bincount(tokens.ids, minlength=len(table)))
    schedule = Schedule(
        steps_of(settings.epochs, len(tokens), settings.batch_size),
        settings.learning_rate,
        settings.warmup_fraction,
        settings.weight_decay,
    )
    trained = _train(model, params, tokens, targets, schedule, seed, "distill")
    return _save(model, params, paths, paths.teacher / TOKENIZER, out, trained, {"start_variance_kept": kept})


def prune(params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
    """Cut vocabulary rows and feed-forward neurons, then recover on the same texts."""
    torch.manual_seed(seed)
    before = weights.load_model(paths.student, TextEncoder)
    old = load_tokenizer(paths.student / TOKENIZER)
    tokens, targets = load_labels(paths)
    cut = _cut(before, tokens, old, params)
    model, tokenizer = cut.model, old
    if len(cut.rows) < before.config.vocabulary:
        tokenizer = vocabulary.prune_tokenizer(old, cut.rows)
        tokens = tokenize(storage.load_texts(paths.data / storage.TRAIN), tokenizer, params.teacher.train_tokens)
    schedule = Schedule(
        steps_of(params.prune.epochs, len(tokens), params.distill.batch_size),
        params.prune.learning_rate,
        params.distill.warmup_fraction,
        params.distill.weight_decay,
    )
    contrast = _contrast(params, paths, tokenizer)
    trained = _train(model, params, tokens, targets, schedule, seed + 1, "prune: recovery", contrast=contrast)
    path = out / TOKENIZER
    tokenizer.no_truncation()
    tokenizer.save(str(path))
    report = _save(
        model,
        params,
        paths,
        path,
        out,
        trained,
        {"vocabulary_before": before.config.vocabulary, "vocabulary": len(cut.rows)},
    )
    old = files.read_json(paths.student / REPORT)
    return {**report, **cost.gains(before, model, old, report, example())}


def quantize(params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
    """Fine-tune with rounded weights and leave real texts to calibrate on."""
    torch.manual_seed(seed)
    model = weights.load_model(paths.pruned, TextEncoder)
    tokenizer = load_tokenizer(paths.pruned / TOKENIZER)
    texts = storage.load_texts(paths.data / storage.TRAIN)
    tokens = tokenize(texts, tokenizer, params.teacher.train_tokens)
    schedule = Schedule(
        steps_of(params.quantize.epochs, len(tokens), params.distill.batch_size),
        params.quantize.learning_rate,
        params.distill.warmup_fraction,
        0.0,
    )
    targets = load_labels(paths)[1]
    name = "quantize: fine-tuning"
    # The teacher alone again: it brings back some of the fidelity that the contrastive term cost.
    trained = _train(model, params, tokens, targets, schedule, seed + 2, name, quantization.int8_weights)
    ids, mask = _calibration(tokens, params.quantize.calibration_texts, model.config.max_tokens)
    weights.save_tensors({"input_ids": ids, "attention_mask": mask}, out / CALIBRATION)
    return _save(model, params, paths, paths.pruned / TOKENIZER, out, trained, {})


def _train(
    model: TextEncoder,
    params: ModelParams,
    tokens: Tokens,
    targets: NDArray[np.float32],
    schedule: Schedule,
    seed: int,
    name: str,
    computing: Callable[[TextEncoder], AbstractContextManager[object]] = nullcontext,
    contrast: distillation.Contrast | None = None,
) -> TrainReport:
    loss = EmbeddingLoss(params.distill.similarity_weight, params.distill.temperature)
    batch = params.distill.batch_size
    lesson = distillation.Lesson(tokens, targets, loss, schedule, batch, seed, name, computing, contrast)
    return distillation.train_encoder(model, lesson)


def _cut(model: TextEncoder, tokens: Tokens, tokenizer: Tokenizer, params: ModelParams) -> PrunedEncoder:
    """Cut as `prune` asks; says so where the ceilings took more than `vocabulary_min_count` and `ffn_ratio`."""
    settings, rows = params.prune, model.config.vocabulary
    counts = np.bincount(tokens.ids, minlength=rows)
    known = Vocabulary(counts, vocabulary.indispensable(tokenizer, rows))
    wish = Wish(settings.vocabulary_min_count, settings.ffn_ratio)
    ceilings = Ceilings.written(settings.max_params, settings.max_macs)
    cut = prune_encoder(model, known, wish, ceilings, example())
    if len(cut.rows) < cut.rows_wished:
        note(f"prune.max_params leaves {len(cut.rows)} of the {cut.rows_wished} rows that occur often enough")
    if cut.model.config.ffn_dims != cut.ffn_dims_wished:
        note(f"the ceilings of prune leave {cut.model.config.ffn_dims} neurons, ffn_ratio {cut.ffn_dims_wished}")
    return cut


def _save(
    model: TextEncoder,
    params: ModelParams,
    paths: ModelLayout,
    tokenizer: Path,
    out: Path,
    trained: TrainReport,
    more: Mapping[str, Any],
) -> Mapping[str, Any]:
    if tokenizer.parent != out:
        shutil.copyfile(tokenizer, out / TOKENIZER)
    weights.save_model(model, out)
    measured = judge(torch_encode(model), load_tokenizer(out / TOKENIZER), params, paths)
    training = asdict(trained)
    losses = training.pop("losses")
    size = describe_size(model, out / WEIGHTS)
    return {**size, "quality": dict(measured), "training": training, "losses": list(losses), **more}


def _contrast(params: ModelParams, paths: ModelLayout, tokenizer: Tokenizer) -> distillation.Contrast | None:
    """Pairs out of the training texts; None where they count nothing or there are too few to tell apart."""
    if not params.prune.contrast_weight:
        return None
    texts = storage.load_texts(paths.data / storage.TRAIN)
    pairs = passage_pairs(texts, tokenizer, params.teacher.train_tokens)
    if len(pairs) < _MIN_PAIRS:
        return None
    return distillation.Contrast(pairs, params.prune.contrast_weight, params.prune.contrast_temperature)


def _calibration(tokens: Tokens, count: int, length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Texts padded to one length, int32 `[count, length]` each."""
    ids = np.zeros((min(count, len(tokens)), length), np.int32)
    mask = np.zeros_like(ids)
    for row in range(len(ids)):
        text = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]][:length]
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask
