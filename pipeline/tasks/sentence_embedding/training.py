"""Distillation, pruning and quantization of a sentence encoder; each step is saved with what it measured."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from pipeline import cost, students, weights
from pipeline.compress import fake_int8
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.embeddings import vocabulary
from pipeline.compress.embeddings.distill import Contrast, Lesson, start_from_teacher, train_encoder
from pipeline.compress.embeddings.losses import EmbeddingLoss
from pipeline.compress.embeddings.prune import PrunedEncoder, Vocabulary, Wish, prune_encoder
from pipeline.compress.training import Schedule, TrainReport, steps_of
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import InputError
from pipeline.layout import CALIBRATION, REPORT, TOKENIZER, WEIGHTS
from pipeline.progress import note
from pipeline.records.step import StepReport
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.tasks.base import Step, Work, training_of
from pipeline.tasks.sentence_embedding.judging import judge
from pipeline.tasks.sentence_embedding.params import DistillParams, ModelParams, PruneParams
from pipeline.tasks.sentence_embedding.serving import example, load_teacher, model_spec
from pipeline.text import label, storage
from pipeline.text.pairs import passage_pairs
from pipeline.text.tokens import Tokens, load_tokenizer, tokenize

# With fewer pairs, a batch has too little to tell apart.
_MIN_PAIRS = 16
# Where there is no block `quantize`, which sets their number.
_CALIBRATION_TEXTS = 256


def distill(work: Work[ModelParams]) -> Step:
    """Start from the teacher's vocabulary, then learn its embeddings of the training texts."""
    if work.params.distill == "none" or work.params.student is None:
        return _take_teacher(work)
    torch.manual_seed(work.seed)
    student, settings = work.params.student, work.params.distill
    tokens, targets = label.load_labels(work.paths.teacher)
    table = weights.load_tensors(work.paths.teacher / label.VOCABULARY)["embeddings"].astype(np.float32)
    config = TextEncoderConfig(
        len(table),
        student.embedding_dim,
        student.hidden_dim,
        student.heads,
        (student.ffn_dim,) * student.layers,
        student.max_tokens,
        targets.shape[1],
    )
    model = TextEncoder(config)
    kept = start_from_teacher(model, table, np.bincount(tokens.ids, minlength=len(table)))
    schedule = _schedule(settings, len(tokens), settings.epochs, settings.learning_rate, settings.weight_decay)
    lesson = Lesson(tokens, targets, _loss(settings), schedule, settings.batch_size, work.seed, "distill")
    trained = train_encoder(model, lesson)
    return _save(work, model, work.paths.teacher / TOKENIZER, trained, facts={"start_variance_kept": kept})


def prune(work: Work[ModelParams]) -> Step:
    """Cut vocabulary rows and feed-forward neurons, then recover on the same texts."""
    params, paths = work.params, work.paths
    if params.prune == "none":
        return _hand_on(work, paths.student)
    torch.manual_seed(work.seed)
    settings = params.prune
    before = students.load_model(paths.student, TextEncoder)
    old = load_tokenizer(paths.student / TOKENIZER)
    tokens, targets = label.load_labels(paths.teacher)
    cut = _cut(before, tokens, old, settings)
    model, tokenizer = cut.model, old
    if len(cut.rows) < before.config.vocabulary:
        tokenizer = vocabulary.prune_tokenizer(old, cut.rows)
        tokens = tokenize(storage.load_texts(paths.data / storage.TRAIN), tokenizer, _train_tokens(params))
    recipe = _recipe(params)
    schedule = _schedule(recipe, len(tokens), settings.epochs, settings.learning_rate, recipe.weight_decay)
    contrast = _contrast(work, tokenizer)
    name, seed = "prune: recovery", work.seed + 1
    lesson = Lesson(tokens, targets, _loss(recipe), schedule, recipe.batch_size, seed, name, contrast=contrast)
    trained = train_encoder(model, lesson)
    path = work.out / TOKENIZER
    tokenizer.no_truncation()
    tokenizer.save(str(path))
    facts = {"vocabulary_before": before.config.vocabulary, "vocabulary": len(cut.rows)}
    step = _save(work, model, path, trained, facts=facts)
    old_report = StepReport.read(paths.student / REPORT)
    gained = cost.gains(before, model, old_report, step.report, example())
    return Step(step.report.model_copy(update=gained), step.losses)


def quantize(work: Work[ModelParams]) -> Step:
    """Fine-tune with rounded weights and leave real texts to calibrate on."""
    params, paths = work.params, work.paths
    tokenizer = load_tokenizer(paths.pruned / TOKENIZER)
    texts = storage.load_texts(paths.data / storage.TRAIN)
    if params.quantize == "none":
        tokens = tokenize(texts[:_CALIBRATION_TEXTS], tokenizer, _train_tokens(params))
        _save_calibration(work, tokens, _CALIBRATION_TEXTS, max(params.export.lengths))
        return _hand_on(work, paths.pruned)
    torch.manual_seed(work.seed)
    settings, recipe = params.quantize, _recipe(params)
    model = students.load_model(paths.pruned, TextEncoder)
    tokens = tokenize(texts, tokenizer, _train_tokens(params))
    schedule = _schedule(recipe, len(tokens), settings.epochs, settings.learning_rate, 0.0)
    targets = label.load_labels(paths.teacher)[1]
    name, seed, rounded = "quantize: fine-tuning", work.seed + 2, fake_int8.int8_weights
    # No contrastive term here: the teacher's embeddings alone bring back some of the fidelity that it cost.
    lesson = Lesson(tokens, targets, _loss(recipe), schedule, recipe.batch_size, seed, name, rounded)
    trained = train_encoder(model, lesson)
    _save_calibration(work, tokens, settings.calibration_texts, model.config.max_tokens)
    return _save(work, model, paths.pruned / TOKENIZER, trained)


def _cut(model: TextEncoder, tokens: Tokens, tokenizer: Tokenizer, settings: PruneParams) -> PrunedEncoder:
    """Cut what `settings` wish for; says so where the ceilings took more."""
    rows = model.config.vocabulary
    known = Vocabulary(np.bincount(tokens.ids, minlength=rows), vocabulary.indispensable(tokenizer, rows))
    wish = Wish(settings.vocabulary_min_count, settings.ffn_ratio)
    ceilings = Ceilings.written(settings.max_params, settings.max_macs)
    cut = prune_encoder(model, known, wish, ceilings, example())
    if len(cut.rows) < cut.rows_wished:
        note(f"prune.max_params leaves {len(cut.rows)} of the {cut.rows_wished} rows that occur often enough")
    if cut.model.config.ffn_dims != cut.ffn_dims_wished:
        note(f"the ceilings of prune leave {cut.model.config.ffn_dims} neurons, ffn_ratio {cut.ffn_dims_wished}")
    return cut


def _take_teacher(work: Work[ModelParams]) -> Step:
    """The teacher itself as the student.

    Raises:
        InputError: it is a black box, of which no export can be made.
    """
    model = load_teacher(work.paths)
    if model is None:
        raise InputError(
            f"{work.where('distill')} is none, but the teacher is a black box, which cannot be exported: "
            "distil it into a student"
        )
    return _save(work, model, work.paths.teacher / TOKENIZER, None)


def _hand_on(work: Work[ModelParams], source: Path) -> Step:
    """The model of the step before, unchanged; it was measured there."""
    students.copy_model(source, work.out)
    shutil.copyfile(source / TOKENIZER, work.out / TOKENIZER)
    before = StepReport.read(source / REPORT)
    return Step(before.model_copy(update={"training": None, "gains": {}, "warnings": (), "facts": {}}))


def _recipe(params: ModelParams) -> DistillParams:
    """How a student learns; steps after distillation share it."""
    assert params.distill != "none"  # params.py: without a student, nothing is trained
    return params.distill


def _train_tokens(params: ModelParams) -> int:
    given = params.teacher.train_tokens
    return params.teacher.max_tokens if given == "none" else given


def _schedule(recipe: DistillParams, texts: int, epochs: float, learning_rate: float, weight_decay: float) -> Schedule:
    steps = steps_of(epochs, texts, recipe.batch_size)
    return Schedule(steps, learning_rate, recipe.warmup_fraction, weight_decay)


def _loss(recipe: DistillParams) -> EmbeddingLoss:
    return EmbeddingLoss(recipe.similarity_weight, recipe.temperature)


def _save(
    work: Work[ModelParams],
    model: nn.Module,
    tokenizer: Path,
    trained: TrainReport | None,
    facts: Mapping[str, Any] | None = None,
) -> Step:
    """Write model and tokenizer, and measure them."""
    out = work.out
    if tokenizer.parent != out:
        shutil.copyfile(tokenizer, out / TOKENIZER)
    students.save_model(model, out)
    session = TorchSession(model, model_spec(work.params, work.paths))
    student = work.params.student
    most = work.params.teacher.max_tokens if student is None else student.max_tokens
    measured = judge(session, load_tokenizer(out / TOKENIZER), work.paths, most)
    training = None if trained is None else training_of(trained)
    size = cost.describe_size(model, out / WEIGHTS, example())
    report = StepReport(**size, quality=measured, training=training, facts=facts or {})
    return Step(report, () if trained is None else trained.losses)


def _contrast(work: Work[ModelParams], tokenizer: Tokenizer) -> Contrast | None:
    """Pairs out of the training texts; None where their weight is 0, or where there are too few to tell apart."""
    settings = work.params.prune
    if settings == "none" or not settings.contrast_weight:
        return None
    texts = storage.load_texts(work.paths.data / storage.TRAIN)
    pairs = passage_pairs(texts, tokenizer, _train_tokens(work.params))
    if len(pairs) < _MIN_PAIRS:
        return None
    return Contrast(pairs, settings.contrast_weight, settings.contrast_temperature)


def _save_calibration(work: Work[ModelParams], tokens: Tokens, count: int, length: int) -> None:
    """Write texts padded to one length, int32 `[count, length]` each."""
    ids = np.zeros((min(count, len(tokens)), length), np.int32)
    mask = np.zeros_like(ids)
    for row in range(len(ids)):
        text = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]][:length]
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    weights.save_tensors({"input_ids": ids, "attention_mask": mask}, work.out / CALIBRATION)
