"""Distillation throughput: this training loop against sentence-transformers' own trainer, alternated in one run.

    python -m benchmarks.distillation_throughput [--rounds 3] [--texts 6400]

Both train the student of params.yaml (the same architecture and size, wrapped as a sentence-transformers module for its
trainer) on the same real texts towards the same precomputed teacher embeddings, on the same threads. The trainer runs
as its documentation shows it for distillation: `MSELoss`, labels in the data set, `batch_size` as given. Needs the
outputs of `dvc repro teacher`. Prints texts per second of each round and the ratios.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.losses import MSELoss
from tokenizers import Tokenizer
from torch import Tensor, nn

from pipeline.compress.embeddings import distill
from pipeline.compress.embeddings.losses import EmbeddingLoss
from pipeline.compress.training import Schedule
from pipeline.layout import TOKENIZER, Layout
from pipeline.params.file import load_params
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.tasks.sentence_embedding.teacher import load_labels
from pipeline.text import storage
from pipeline.text.tokens import Tokens, load_tokenizer


class StudentModule(nn.Module):
    """The student as the first module of a SentenceTransformer."""

    def __init__(self, model: TextEncoder, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        tokenizer.enable_truncation(max_tokens)
        tokenizer.enable_padding()

    def tokenize(self, texts: list[str], **_: Any) -> dict[str, Tensor]:
        encodings = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([encoding.ids for encoding in encodings])
        return {"input_ids": ids, "attention_mask": torch.tensor([e.attention_mask for e in encodings])}

    preprocess = tokenize

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        features["sentence_embedding"] = self.model(features["input_ids"], features["attention_mask"])
        return features

    def save(self, *_: Any, **__: Any) -> None:
        """Nothing is kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="docs-embed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=6400)
    arguments = parser.parse_args()
    layout = Layout()
    params = load_params(layout.params).params.models[arguments.model]
    paths = layout.model(arguments.model)
    tokens, targets = load_labels(paths)
    texts = storage.load_texts(paths.data / storage.TRAIN)[: arguments.texts]
    tokens = Tokens(tokens.ids[: tokens.offsets[arguments.texts]], tokens.offsets[: arguments.texts + 1])
    vocabulary = load_tokenizer(paths.teacher / TOKENIZER).get_vocab_size()
    ours, theirs = [], []
    for number in range(arguments.rounds):
        ours.append(arguments.texts / run_ours(build(params, vocabulary), params, tokens, targets))
        module = StudentModule(
            build(params, vocabulary), load_tokenizer(paths.teacher / TOKENIZER), params.teacher.train_tokens
        )
        theirs.append(arguments.texts / run_theirs(module, params, texts, targets[: arguments.texts]))
        print(f"round {number + 1}: {ours[-1]:.0f} against {theirs[-1]:.0f} texts/s, {ours[-1] / theirs[-1]:.2f} times")
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"median: {statistics.median(ours):.0f} against {statistics.median(theirs):.0f} texts/s, ", end="")
    print(f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})")


def build(params: ModelParams, vocabulary: int) -> TextEncoder:
    torch.manual_seed(0)
    s = params.student
    ffn = (s.ffn_dim,) * s.layers
    return TextEncoder(TextEncoderConfig(vocabulary, s.embedding_dim, s.hidden_dim, s.heads, ffn, s.max_tokens, 384))


def run_ours(model: TextEncoder, params: ModelParams, tokens: Tokens, targets: NDArray[np.float32]) -> float:
    loss = EmbeddingLoss(params.distill.similarity_weight, params.distill.temperature)
    batch = params.distill.batch_size
    schedule = Schedule(len(tokens) // batch, params.distill.learning_rate, 0.05, params.distill.weight_decay)
    start = time.perf_counter()
    distill.train_encoder(model, distill.Lesson(tokens, targets, loss, schedule, batch, 0, "ours"))
    return time.perf_counter() - start


def run_theirs(module: StudentModule, params: ModelParams, texts: list[str], targets: NDArray[np.float32]) -> float:
    model = SentenceTransformer(modules=[module], device="cpu")
    data = Dataset.from_dict({"text": texts, "label": targets.tolist()})
    with tempfile.TemporaryDirectory() as folder:
        settings = SentenceTransformerTrainingArguments(
            output_dir=str(Path(folder)),
            num_train_epochs=1,
            per_device_train_batch_size=params.distill.batch_size,
            learning_rate=params.distill.learning_rate,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            logging_strategy="no",
        )
        trainer = SentenceTransformerTrainer(model=model, args=settings, train_dataset=data, loss=MSELoss(model))
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
