"""The steps of compression of a language model; each is saved with what it measured."""

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import cost, students, weights
from pipeline.compress.tokens import labels, stream
from pipeline.compress.tokens.distill import Rates, start_from_teacher, train_student
from pipeline.compress.tokens.stream import Lesson
from pipeline.compress.training import Schedule
from pipeline.engines.decoders import decoder_spec
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import InputError
from pipeline.layout import CALIBRATION, CHAT, CHECKPOINT, GENERATION, REPORT, TOKENIZER, WEIGHTS, ModelLayout
from pipeline.records.generation import Generation
from pipeline.records.step import StepReport
from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.students.decoder import Decoder, DecoderConfig
from pipeline.tasks.base import Step, Work, training_of
from pipeline.tasks.causal_lm.judging import REFERENCE, write_reference
from pipeline.tasks.causal_lm.params import DistillParams, ModelParams
from pipeline.tasks.causal_lm.serving import OneToken, example
from pipeline.text import bpe, document_split, storage
from pipeline.text.prepared import read_prepared
from pipeline.text.tokens import load_tokenizer

_CALIBRATION_TEXTS, _CALIBRATION_TOKENS = 64, 128
# What goes from step to step beside the weights.
_LANGUAGE = (TOKENIZER, GENERATION, CHAT, REFERENCE)
# Rotary positions have no end; texts of a build are not longer.
_MAX_TOKENS = 2048
_ROPE_THETA, _NORM_EPSILON = 1e4, 1e-5


def distill(work: Work[ModelParams]) -> Step:
    """A student whose table starts from the teacher's; it learns from texts, and from what the teacher says of some."""
    if work.params.distill == "none":
        return _hand_on(work, work.paths.teacher_checkpoint, work.paths.teacher)
    torch.manual_seed(work.seed)
    settings, paths = work.params.distill, work.paths
    for name in (TOKENIZER, GENERATION):
        shutil.copyfile(paths.teacher / name, work.out / name)
    labelled = weights.load_tensors(paths.teacher / labels.FILE)
    kept = labelled.pop(labels.KEPT)
    lesson = lesson_of(settings, paths, work.out, labels.Labels(**labelled), work.seed)
    model = Decoder(config_of(work.params, len(kept)))
    table = weights.load_tensors(paths.teacher / CHECKPOINT / WEIGHTS)["embedding.weight"][kept]
    held = start_from_teacher(model, table, np.bincount(lesson.stream, minlength=len(kept)))
    trained = train_student(model, lesson, rates_of(settings), "distill", paths.unfinished("distill.pt"))
    students.save_model(model, work.out)
    quality = _measure(work, model)
    size = cost.describe_size(OneToken(model), work.out / WEIGHTS, example())
    facts = {"start_variance_kept": held}
    return Step(StepReport(**size, quality=quality, training=training_of(trained), facts=facts), trained.losses)


def prune(work: Work[ModelParams]) -> Step:
    """The student, unchanged."""
    return _hand_on(work, work.paths.student, work.paths.student)


def quantize(work: Work[ModelParams]) -> Step:
    """The student, unchanged; leaves texts to calibrate on."""
    step = _hand_on(work, work.paths.pruned, work.paths.pruned)
    weights.save_tensors(_calibration(work), work.out / CALIBRATION)
    return step


def lesson_of(settings: DistillParams, paths: ModelLayout, folder: Path, labelled: labels.Labels, seed: int) -> Lesson:
    """The training texts as one stream, and what the teacher says of some of them; `folder` has the tokenizer."""
    texts = [one.text for one in document_split.load(paths.data / storage.TRAIN)]
    tokens = bpe.encode(texts, load_tokenizer(folder / TOKENIZER))
    return Lesson(
        stream=stream.join_texts(tokens, Generation.read(folder / GENERATION).start),
        labels=labelled,
        teacher_weight=settings.teacher_weight,
        labelled_share=settings.labelled_share,
        labelled_from=settings.labelled_from,
        windows=settings.windows,
        length=settings.window_tokens,
        pieces=settings.pieces,
        whole_from=settings.whole_from,
        seed=seed,
    )


def config_of(params: ModelParams, vocabulary: int) -> DecoderConfig:
    """The student's sizes."""
    assert params.student is not None  # params.py: there is one where `distill` is a block
    sizes = params.student.model_dump(exclude={"architecture"})
    return DecoderConfig(
        vocabulary=vocabulary, rope_theta=_ROPE_THETA, norm_epsilon=_NORM_EPSILON, max_tokens=_MAX_TOKENS, **sizes
    )


def rates_of(settings: DistillParams) -> Rates:
    """How long and how fast to learn."""
    steps = max(1, settings.tokens // (settings.windows * settings.window_tokens))
    schedule = Schedule(steps, settings.learning_rate, settings.warmup_fraction, settings.weight_decay)
    return Rates(schedule, settings.matrix_rate, bf16=settings.precision == "bf16")


def _measure(work: Work[ModelParams], model: Decoder) -> dict[str, float]:
    export = work.params.export
    session = TorchSession(model.eval(), decoder_spec(model.config, export.tokens, export.caches))
    return write_reference(session, work.params, work.paths.data, work.out)


def _calibration(work: Work[ModelParams]) -> dict[str, NDArray[np.int32]]:
    """Calls that read beginnings of training texts, by input name; int32 `[n, ...]`.

    Raises:
        InputError: no training text is long enough.
    """
    path = work.paths.data / storage.TRAIN
    texts = [text.ids for text in read_prepared(path, work.out, _CALIBRATION_TOKENS)]
    long = [ids for ids in texts if len(ids) == _CALIBRATION_TOKENS][:_CALIBRATION_TEXTS]
    if not long:
        raise InputError(f"{path}: no text has {_CALIBRATION_TOKENS} tokens to calibrate on: give longer ones")
    zeros = np.zeros(len(long), np.int32)
    return {TOKENS: np.stack(long), POSITION: zeros, ROWS: zeros + _CALIBRATION_TOKENS - 1}


def _hand_on(work: Work[ModelParams], source: Path, reported: Path) -> Step:
    """The model of the step before, unchanged; it was measured there."""
    students.copy_model(source, work.out)
    for name in _LANGUAGE:
        if (source / name).is_file():
            shutil.copyfile(source / name, work.out / name)
    before = StepReport.read(reported / REPORT)
    return Step(before.model_copy(update={"training": None, "gains": {}, "warnings": (), "facts": {}}))
