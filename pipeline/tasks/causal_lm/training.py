"""The steps of compression of a language model; each is saved with what it measured."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import students, weights
from pipeline.errors import InputError
from pipeline.layout import CALIBRATION, CHAT, GENERATION, REPORT, TOKENIZER
from pipeline.records.step import StepReport
from pipeline.runtime.decoder_call import POSITION, ROWS, TOKENS
from pipeline.tasks.base import Step, Work
from pipeline.tasks.causal_lm.judging import REFERENCE
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.text import storage
from pipeline.text.prepared import read_prepared

_CALIBRATION_TEXTS, _CALIBRATION_TOKENS = 64, 128
# What goes from step to step beside the weights.
_LANGUAGE = (TOKENIZER, GENERATION, CHAT, REFERENCE)


def distill(work: Work[ModelParams]) -> Step:
    """The teacher itself as the student."""
    return _hand_on(work, work.paths.teacher_checkpoint, work.paths.teacher)


def prune(work: Work[ModelParams]) -> Step:
    """The student, unchanged."""
    return _hand_on(work, work.paths.student, work.paths.student)


def quantize(work: Work[ModelParams]) -> Step:
    """The student, unchanged; leaves texts to calibrate on."""
    step = _hand_on(work, work.paths.pruned, work.paths.pruned)
    weights.save_tensors(_calibration(work), work.out / CALIBRATION)
    return step


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
