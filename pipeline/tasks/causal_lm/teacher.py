"""Opening a language-model teacher, and letting it label training texts for a student with fewer tokens."""

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline import cost, students, weights
from pipeline.compress.tokens import alignment, labelling, labels, teachers
from pipeline.compress.tokens.alignment import Aligned
from pipeline.engines.decoders import decoder_spec
from pipeline.engines.torch_session import TorchSession
from pipeline.files import write_json
from pipeline.layout import CHAT, CHECKPOINT, GENERATION, TOKENIZER, WEIGHTS
from pipeline.records.generation import Generation
from pipeline.records.step import StepReport
from pipeline.tasks.base import Step, Work
from pipeline.tasks.causal_lm.judging import write_reference
from pipeline.tasks.causal_lm.params import LabelParams, ModelParams
from pipeline.tasks.causal_lm.serving import OneToken, example
from pipeline.teacher import decoders, sources
from pipeline.teacher.tokenizer import TeacherTokenizer, load_tokenizer_of
from pipeline.text import bpe, chat_template, document_split, storage


def run_teacher(work: Work[ModelParams]) -> Step:
    """Write the teacher's decoder, tokenizer and chat format into `checkpoint/`, measure it, and let it label."""
    params = work.params
    found = sources.find(params.teacher, work.root, work.where("teacher"), params.teacher_files)
    model, language = decoders.load(found), load_tokenizer_of(found)
    folder = work.out / CHECKPOINT
    folder.mkdir()
    students.save_model(model, folder)
    _write_language(language, folder)
    session = TorchSession(model, decoder_spec(model.config, params.export.tokens, params.export.caches))
    quality = write_reference(session, params, work.paths.data, folder)
    size = cost.describe_size(OneToken(model), folder / WEIGHTS, example())
    facts: dict[str, str | int] = {"source": found.source, "sha256": found.sha256}
    del model, session
    if params.teacher.label != "none":
        facts |= _label(work, params.teacher.label, language, found.sha256)
    return Step(StepReport(**size, quality=quality, facts=facts))


def _write_language(language: TeacherTokenizer, folder: Path) -> None:
    """Write the tokenizer, how a text begins and ends, and the format of a chat where the teacher has one."""
    language.tokenizer.save(str(folder / TOKENIZER))
    Generation(start=language.start, end=language.stops).write(folder / GENERATION)
    if language.chat_template is not None:
        write_json(folder / CHAT, chat_template.pieces_of(language.chat_template, language.special_tokens))


def _label(
    work: Work[ModelParams], settings: LabelParams, language: TeacherTokenizer, checksum: str
) -> dict[str, str | int]:
    """Write the student's tokenizer and what the teacher says of texts in its tokens; return how much that is."""
    texts = [one.text for one in document_split.load(work.paths.data / storage.TRAIN)]
    start = language.tokenizer.id_to_token(language.start)
    assert start is not None  # the source has checked it
    kept = bpe.trim(language.tokenizer, bpe.count_tokens(texts, language.tokenizer), settings.vocabulary, [start])
    trimmed = bpe.trimmed_tokenizer(language.tokenizer, kept)
    trimmed.save(str(work.out / TOKENIZER))
    new_start = int(np.searchsorted(kept, language.start))
    Generation(start=new_start, end=(new_start,)).write(work.out / GENERATION)
    aligned = _align(_first_bytes(texts, settings.bytes), language.tokenizer, trimmed, language.start, new_start)
    how = labelling.Labelling(
        teacher=partial(teachers.open_decoder, work.out / CHECKPOINT),
        teacher_name=f"{checksum} bf16",
        first=bpe.first_pieces(language.tokenizer, trimmed),
        vocabulary=len(kept),
        sparsity=labels.Sparsity(top=settings.top, drawn=settings.drawn),
        seed=work.seed,
    )
    # Outside of the stage's folder, so that a run that was killed goes on.
    parts = work.paths.unfinished("labels")
    found = labelling.label_all(aligned, how, parts, os.cpu_count() or 1)
    weights.save_tensors({**vars(found), labels.KEPT: kept}, work.out / labels.FILE)
    shutil.rmtree(parts, ignore_errors=True)
    return {"labelled_texts": len(aligned), "labelled_tokens": len(found.tokens), "labels": len(found.places)}


def _align(texts: list[str], full: Tokenizer, trimmed: Tokenizer, start: int, new_start: int) -> list[Aligned]:
    """Texts in the tokens of teacher and student."""
    sizes, new_sizes = alignment.byte_lengths(full), alignment.byte_lengths(trimmed)
    pairs = zip(bpe.encode(texts, full), bpe.encode(texts, trimmed), strict=True)
    return [alignment.align(_behind(start, one), _behind(new_start, other), sizes, new_sizes) for one, other in pairs]


def _behind(start: int, ids: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([np.array([start], np.int32), ids])


def _first_bytes(texts: list[str], limit: int) -> list[str]:
    """The first texts, as many as have `limit` bytes together; at least one."""
    ends = np.cumsum([len(text.encode()) for text in texts])
    return texts[: max(1, int(np.searchsorted(ends, limit, side="right")))]
