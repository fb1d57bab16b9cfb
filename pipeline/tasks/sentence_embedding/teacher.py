"""Running a sentence-embedding teacher over the texts and its own vocabulary."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from pipeline import weights
from pipeline.cost import describe_size
from pipeline.layout import CHECKPOINT, TOKENIZER, WEIGHTS
from pipeline.records.step import StepReport
from pipeline.students.layers.pooling import mean
from pipeline.students.transformer_encoder import TransformerEncoder
from pipeline.tasks.base import Step, Work
from pipeline.tasks.sentence_embedding.judging import EVALUATION, evaluation_tokens, retrieval_quality
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.tasks.sentence_embedding.serving import example
from pipeline.teacher import black_box, sources
from pipeline.text import label, storage
from pipeline.text.encoder import load_encoder
from pipeline.text.tokens import load_tokenizer, tokenize

_NOT_COPIED = shutil.ignore_patterns("*.bin", "*.md", ".git*")


def run_teacher(work: Work[ModelParams]) -> Step:
    """Embed the evaluation texts, and, unless the teacher is only compressed, the training texts and the vocabulary."""
    params, out = work.params, work.out
    checkpoint = sources.find(params.teacher, work.root, work.where("teacher"), params.teacher_files)
    teacher, module = _open_teacher(checkpoint)
    tokenizer = load_tokenizer(checkpoint.folder / TOKENIZER)
    texts = evaluation_tokens(work.paths.data, tokenizer, params.teacher.max_tokens)
    facts: dict[str, Any] = {
        "source": checkpoint.source,
        "sha256": checkpoint.sha256,
        "black_box": checkpoint.is_saved_model,
    }
    if params.teacher.train_tokens != "none":
        facts["output_dim"] = _label(work, teacher, module, tokenizer, params.teacher.train_tokens)
    evaluation = {
        name: label.embed(teacher, tokens, params.teacher.batch_tokens, f"teacher: {name}")
        for name, tokens in texts.items()
    }
    weights.save_tensors(evaluation, out / EVALUATION)
    shutil.copytree(checkpoint.folder, out / CHECKPOINT, ignore=_NOT_COPIED)
    shutil.copyfile(checkpoint.folder / TOKENIZER, out / TOKENIZER)
    size = describe_size(module, out / CHECKPOINT / WEIGHTS, example())
    return Step(StepReport(**size, quality=retrieval_quality(evaluation), facts=facts))


def _label(
    work: Work[ModelParams],
    teacher: label.Teacher,
    module: TransformerEncoder | None,
    tokenizer: Tokenizer,
    train_tokens: int,
) -> int:
    """Write the teacher's embeddings of the training texts and of each token; return their width."""
    budget = work.params.teacher.batch_tokens
    train = tokenize(storage.load_texts(work.paths.data / storage.TRAIN), tokenizer, train_tokens)
    alone = label.vocabulary_tokens(tokenizer)
    if module is None:
        # A black box shows no token outputs, so its embedding of each token alone takes their place.
        table = label.embed(teacher, alone, budget, "teacher: vocabulary")
        targets = label.embed(teacher, train, budget, "teacher: training texts")
    else:
        first = label.embed(module.unscaled, alone, budget, "teacher: vocabulary")
        means = label.ContextualMeans(module, len(alone), first)
        targets = label.embed(means, train, budget, "teacher: training texts")
        table = means.table()
    label.save_labels(train, targets, work.out)
    weights.save_tensors({"embeddings": table.astype(np.float16)}, work.out / label.VOCABULARY)
    return int(table.shape[1])


class SavedModelTeacher:
    """A SavedModel over token ids.

    Its signature takes `input_ids` and `attention_mask` (int32 or int64 `[batch, length]`) and gives embeddings
    `[batch, d]`, or token outputs `[batch, length, d]`, which are mean-pooled.
    """

    def __init__(self, folder: Path) -> None:
        """Open it; raises as `black_box.SavedModel` does."""
        self._model = black_box.SavedModel(folder, ("attention_mask", "input_ids"))

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts: ids and mask int `[batch, length]` to unit-length float32 `[batch, d]`."""
        inputs = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        tensor = torch.from_numpy(self._model(inputs))
        return functional.normalize(mean(tensor, attention_mask) if tensor.ndim == 3 else tensor, dim=-1)


def _open_teacher(checkpoint: sources.Checkpoint) -> tuple[label.Teacher, TransformerEncoder | None]:
    if checkpoint.is_saved_model:
        return SavedModelTeacher(checkpoint.folder), None
    module = load_encoder(checkpoint.folder)
    return module, module
