"""The steps of compression of a language model; each is saved with what it measured."""

import shutil
from pathlib import Path

import numpy as np

from pipeline import students, weights
from pipeline.engines.decoders import POSITION, ROWS, TOKENS
from pipeline.layout import CALIBRATION, CHAT, GENERATION, REPORT, TOKENIZER
from pipeline.records.step import StepReport
from pipeline.tasks.base import Step, Work
from pipeline.tasks.causal_lm.judging import REFERENCE
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.tasks.causal_lm.texts import calibration

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
    ids = calibration(work.paths.data, work.out)
    count, length = ids.shape
    examples = {
        TOKENS: ids,
        POSITION: np.zeros(count, np.int32),
        ROWS: np.full(count, length - 1, np.int32),
    }
    weights.save_tensors(examples, work.out / CALIBRATION)
    return step


def _hand_on(work: Work[ModelParams], source: Path, reported: Path) -> Step:
    """The model of the step before, unchanged; it was measured there."""
    students.copy_model(source, work.out)
    for name in _LANGUAGE:
        if (source / name).is_file():
            shutil.copyfile(source / name, work.out / name)
    before = StepReport.read(reported / REPORT)
    return Step(before.model_copy(update={"training": None, "gains": {}, "warnings": (), "facts": {}}))
