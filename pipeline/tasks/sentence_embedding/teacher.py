"""Running a sentence_embedding teacher over the texts and its own vocabulary."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline import weights
from pipeline.layout import TOKENIZER, WEIGHTS, ModelLayout
from pipeline.tasks.sentence_embedding.judging import EVALUATION, evaluation_tokens, retrieval_quality
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.tasks.sentence_embedding.size import describe_size
from pipeline.teacher import sources
from pipeline.text import label, storage
from pipeline.text.encoder import TeacherEncoder, load_encoder
from pipeline.text.tokens import Tokens, load_tokenizer, tokenize

LABELS, VOCABULARY = "labels.safetensors", "vocabulary.safetensors"


def run_teacher(params: ModelParams, seed: int, root: Path, where: str, data: Path, out: Path) -> Mapping[str, Any]:
    """Embed the training and evaluation texts and every token of the vocabulary."""
    checkpoint = sources.find(params.teacher, root, where, params.teacher_files)
    teacher, module = _open_teacher(checkpoint)
    tokenizer = load_tokenizer(checkpoint.folder / TOKENIZER)
    budget = params.teacher.batch_tokens

    def embed(run: label.Teacher, tokens: Tokens, name: str) -> NDArray[np.float32]:
        return label.embed(run, tokens, budget, f"teacher: {name}")

    train = tokenize(storage.load_texts(data / storage.TRAIN), tokenizer, params.teacher.train_tokens)
    alone = label.vocabulary_tokens(tokenizer)
    if module is None:
        # A black box shows no token outputs: its embedding of each token alone must do.
        table = embed(teacher, alone, "vocabulary")
        targets = embed(teacher, train, "training texts")
    else:
        means = label.ContextualMeans(module, len(alone), embed(module.unscaled, alone, "vocabulary"))
        targets = embed(means, train, "training texts")
        table = means.table()
    labels: dict[str, NDArray[Any]] = {
        "ids": train.ids,
        "offsets": train.offsets,
        "embeddings": targets.astype(np.float16),
    }
    texts = evaluation_tokens(data, tokenizer, params.teacher.max_tokens)
    evaluation = {name: embed(teacher, tokens, name) for name, tokens in texts.items()}
    weights.save_tensors(labels, out / LABELS)
    weights.save_tensors(evaluation, out / EVALUATION)
    weights.save_tensors({"embeddings": table.astype(np.float16)}, out / VOCABULARY)
    shutil.copytree(checkpoint.folder, out / "checkpoint", ignore=shutil.ignore_patterns("*.bin", "*.md", ".git*"))
    shutil.copyfile(checkpoint.folder / TOKENIZER, out / TOKENIZER)
    return {
        "source": checkpoint.source,
        "sha256": checkpoint.sha256,
        "black_box": checkpoint.is_saved_model,
        "output_dim": int(table.shape[1]),
        **describe_size(module, out / "checkpoint" / WEIGHTS),
        "quality": retrieval_quality(evaluation),
    }


def load_teacher_module(folder: Path) -> nn.Module | None:
    """The teacher's encoder; None for a SavedModel."""
    checkpoint = folder / "checkpoint"
    return None if (checkpoint / sources.SAVED_MODEL).exists() else load_encoder(checkpoint)


def load_labels(paths: ModelLayout) -> tuple[Tokens, NDArray[np.float32]]:
    """The training texts and the teacher's embeddings of them."""
    labels = weights.load_tensors(paths.teacher / LABELS)
    return Tokens(labels["ids"], labels["offsets"]), labels["embeddings"].astype(np.float32)


def _open_teacher(checkpoint: sources.Checkpoint) -> tuple[label.Teacher, TeacherEncoder | None]:
    if checkpoint.is_saved_model:
        # Imports TensorFlow, an optional extra.
        from pipeline.teacher.black_box import SavedModelTeacher

        return SavedModelTeacher(checkpoint.folder), None
    module = load_encoder(checkpoint.folder)
    return module, module
