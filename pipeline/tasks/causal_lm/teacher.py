"""Opening a language-model teacher: its weights as a decoder, its tokenizer, and how it chats."""

from pathlib import Path

from pipeline import cost, students
from pipeline.engines.decoders import decoder_spec
from pipeline.engines.torch_session import TorchSession
from pipeline.files import write_json
from pipeline.layout import CHAT, CHECKPOINT, GENERATION, TOKENIZER, WEIGHTS
from pipeline.records.generation import Generation
from pipeline.records.step import StepReport
from pipeline.tasks.base import Step, Work
from pipeline.tasks.causal_lm.judging import write_reference
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.tasks.causal_lm.serving import OneToken, example
from pipeline.teacher import decoders, sources
from pipeline.teacher.sources import Checkpoint
from pipeline.teacher.tokenizer import load_tokenizer_of
from pipeline.text import chat_template


def run_teacher(work: Work[ModelParams]) -> Step:
    """Write the teacher's decoder, tokenizer and chat format into `checkpoint/`, and measure it."""
    params = work.params
    found = sources.find(params.teacher, work.root, work.where("teacher"), params.teacher_files)
    model = decoders.load(found)
    folder = work.out / CHECKPOINT
    folder.mkdir()
    students.save_model(model, folder)
    _write_language(found, max(params.export.caches), folder)
    session = TorchSession(model, decoder_spec(model.config, params.export.tokens, params.export.caches))
    quality = write_reference(session, params, work.paths.data, folder)
    size = cost.describe_size(OneToken(model), folder / WEIGHTS, example())
    return Step(StepReport(**size, quality=quality, facts={"source": found.source, "sha256": found.sha256}))


def _write_language(found: Checkpoint, context: int, folder: Path) -> None:
    """Write the tokenizer, how a text begins and ends, and the format of a chat where the teacher has one."""
    language = load_tokenizer_of(found)
    language.tokenizer.save(str(folder / TOKENIZER))
    Generation(start=language.start, end=language.stops, context=context).write(folder / GENERATION)
    if language.chat_template is not None:
        write_json(folder / CHAT, chat_template.pieces_of(language.chat_template, language.special_tokens))
