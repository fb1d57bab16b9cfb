"""Task `sentence-embedding`: texts in, unit-length vectors out; a student learns the teacher's vectors."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from pipeline import artifacts, files, measures, quality
from pipeline.compress import distill, neurons, quantize, vocabulary
from pipeline.compress.losses import EmbeddingLoss
from pipeline.compress.training import Schedule, TrainReport
from pipeline.corpus import docstrings, split, storage, textfiles
from pipeline.corpus.tokens import Tokens, load_tokenizer, tokenize
from pipeline.engines.base import ModelSpec, TensorSpec
from pipeline.errors import InputError
from pipeline.layout import CALIBRATION, REPORT, TOKENIZER, WEIGHTS, ModelLayout
from pipeline.params import ModelParams
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.tasks.base import Arrays, Case, Encode
from pipeline.teacher import label, sources
from pipeline.teacher.encoder import TeacherEncoder, load_encoder

LOCK = "requirements.lock"
LABELS, EVALUATION, VOCABULARY = "labels.safetensors", "evaluation.safetensors", "vocabulary.safetensors"
_INPUTS = (TensorSpec("input_ids", "int32", ("batch", "length")), TensorSpec("attention_mask", "int32", ("batch", "length")))
_REPORT_LENGTH = 32


class SentenceEmbedding:
    """See `pipeline.tasks.base.Task`."""

    def make_data(self, params: ModelParams, seed: int, root: Path, out: Path) -> None:
        """Docstrings of the locked packages, or the user's own texts, split by group."""
        if params.data.source == "docstrings":
            where = root / LOCK
            documents = docstrings.read_documents(where, processes=os.cpu_count() or 1)
        else:
            where = root / "data" / "raw"
            documents = textfiles.read_documents(where)
        storage.save(split.split(documents, params.data, seed, str(where)), out)

    def run_teacher(self, params: ModelParams, root: Path, where: str, data: Path, out: Path) -> Mapping[str, Any]:
        """Embed the training and evaluation texts and every token of the vocabulary."""
        checkpoint = sources.find(params.teacher, root, where)
        teacher, module = _open_teacher(checkpoint)
        tokenizer = load_tokenizer(checkpoint.folder / TOKENIZER)
        budget = params.teacher.batch_tokens

        def embed(tokens: Tokens, name: str) -> NDArray[np.float32]:
            return label.embed(teacher, tokens, budget, f"teacher: {name}")

        train = tokenize(storage.load_texts(data / storage.TRAIN), tokenizer, params.distill.max_tokens)
        labels = {"ids": train.ids, "offsets": train.offsets, "embeddings": embed(train, "training texts").astype(np.float16)}
        evaluation = {name: embed(tokens, name) for name, tokens in _evaluation_tokens(data, tokenizer, params.teacher.max_tokens).items()}
        table = embed(label.vocabulary_tokens(tokenizer), "vocabulary")
        artifacts.save_tensors(labels, out / LABELS)
        artifacts.save_tensors(evaluation, out / EVALUATION)
        artifacts.save_tensors({"embeddings": table.astype(np.float16)}, out / VOCABULARY)
        shutil.copytree(checkpoint.folder, out / "checkpoint", ignore=shutil.ignore_patterns("*.bin", "*.md", ".git*"))
        shutil.copyfile(checkpoint.folder / TOKENIZER, out / TOKENIZER)
        return {
            "source": checkpoint.source,
            "sha256": checkpoint.sha256,
            "black_box": checkpoint.is_saved_model,
            "output_dim": int(table.shape[1]),
            **_size(module, out / "checkpoint" / WEIGHTS),
            "quality": _retrieval_quality(evaluation),
        }

    def distill(self, params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Start from the teacher's vocabulary, then learn its embeddings of the training texts."""
        torch.manual_seed(seed)
        tokens, targets = _labels(paths)
        table = artifacts.load_tensors(paths.teacher / VOCABULARY)["embeddings"].astype(np.float32)
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
        kept = distill.start_from_teacher(model, table, np.unique(tokens.ids))
        schedule = Schedule(
            distill.steps_of(settings.epochs, len(tokens), settings.batch_size),
            settings.learning_rate,
            settings.warmup_fraction,
            settings.weight_decay,
        )
        trained = self._train(model, params, tokens, targets, schedule, seed, "distill")
        return self._save(model, params, paths, paths.teacher / TOKENIZER, out, trained, {"start_variance_kept": kept})

    def prune(self, params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Cut vocabulary rows and feed-forward neurons, then recover on the same texts."""
        torch.manual_seed(seed)
        before = artifacts.load_model(paths.student)
        old = load_tokenizer(paths.student / TOKENIZER)
        tokens, targets = _labels(paths)
        if params.prune.vocabulary_min_count:
            rows = vocabulary.rows_to_keep(tokens, old, params.prune.vocabulary_min_count)
            tokenizer = vocabulary.prune_tokenizer(old, rows)
            tokens = tokenize(storage.load_texts(paths.data / storage.TRAIN), tokenizer, params.distill.max_tokens)
        else:
            rows, tokenizer = np.arange(before.config.vocabulary), old
        model = neurons.prune_encoder(before, rows, params.prune.ffn_ratio)
        schedule = Schedule(
            distill.steps_of(params.prune.epochs, len(tokens), params.distill.batch_size),
            params.prune.learning_rate,
            params.distill.warmup_fraction,
            params.distill.weight_decay,
        )
        trained = self._train(model, params, tokens, targets, schedule, seed + 1, "prune: recovery")
        path = out / TOKENIZER
        tokenizer.no_truncation()
        tokenizer.save(str(path))
        report = self._save(model, params, paths, path, out, trained, {"vocabulary_before": before.config.vocabulary, "vocabulary": len(rows)})
        return _with_gains(report, before, model, files.read_json(paths.student / REPORT))

    def quantize(self, params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Fine-tune with rounded weights and leave real texts to calibrate on."""
        torch.manual_seed(seed)
        model = artifacts.load_model(paths.pruned)
        tokenizer = load_tokenizer(paths.pruned / TOKENIZER)
        texts = storage.load_texts(paths.data / storage.TRAIN)
        tokens = tokenize(texts, tokenizer, params.distill.max_tokens)
        schedule = Schedule(
            distill.steps_of(params.quantize.epochs, len(tokens), params.distill.batch_size),
            params.quantize.learning_rate,
            params.distill.warmup_fraction,
            0.0,
        )
        with quantize.int8_weights(model):
            trained = self._train(model, params, tokens, _labels(paths)[1], schedule, seed + 2, "quantize: fine-tuning")
        ids, mask = _calibration(tokens, params.quantize.calibration_texts, max(params.export.lengths))
        artifacts.save_tensors({"input_ids": ids, "attention_mask": mask}, out / CALIBRATION)
        return self._save(model, params, paths, paths.pruned / TOKENIZER, out, trained, {})

    def load_teacher_module(self, folder: Path) -> nn.Module | None:
        """The teacher's encoder; None for a SavedModel."""
        checkpoint = folder / "checkpoint"
        return None if (checkpoint / sources.SAVED_MODEL).exists() else load_encoder(checkpoint)

    def model_spec(self, params: ModelParams) -> ModelSpec:
        """Ids and mask in, one vector a text out; each length at batch 1, and the throughput batch."""
        shapes = [{"batch": 1, "length": length} for length in params.export.lengths]
        if params.export.batch > 1:
            shapes.append({"batch": params.export.batch, "length": params.budgets.case.length})
        return ModelSpec(_INPUTS, TensorSpec("embedding", "float32", ("batch", "dim")), tuple(shapes))

    def teacher_spec(self, params: ModelParams) -> ModelSpec:
        """The shape at which latency is judged, and no other: it is only the reference."""
        spec = self.model_spec(params)
        return ModelSpec(spec.inputs, spec.output, ({"batch": 1, "length": params.budgets.case.length},))

    def comparison_inputs(self, params: ModelParams, paths: ModelLayout, count: int) -> Sequence[Arrays]:
        """Held-out sentences that fit the shape at which latency is judged."""
        tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
        texts = storage.load_texts(paths.data / storage.HELDOUT)[:count]
        return _examples(tokenize(texts, tokenizer, params.budgets.case.length))

    def cases(self, params: ModelParams, paths: ModelLayout) -> Sequence[Case]:
        """Each served shape, filled with real text to its last token."""
        tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
        text = " ".join(storage.load_texts(paths.data / storage.HELDOUT)[: 20 * max(1, params.export.batch)])
        cases = []
        for shape in self.model_spec(params).shapes:
            batch, length = shape["batch"], shape["length"]
            words = text.split()
            rows = [tokenize([" ".join(words[i * length :])], tokenizer, length).ids for i in range(batch)]
            if any(len(row) != length for row in rows):
                raise InputError(f"the held-out texts are too short to fill {length} tokens: give more text")
            ids = np.stack(rows).astype(np.int32)
            cases.append(Case(f"b{batch}_l{length}", batch, length, {"input_ids": ids, "attention_mask": np.ones_like(ids)}))
        return cases

    def evaluate(self, encode: Encode, params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
        """Fidelity to the teacher on held-out sentences, and recall on the retrieval pairs."""
        tokenizer = load_tokenizer(paths.quantized / TOKENIZER)
        return self._quality(encode, tokenizer, params, paths)

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """As the teacher stage measured it."""
        quality_of: Mapping[str, float] = files.read_json(paths.teacher / REPORT)["quality"]
        return quality_of

    def _train(
        self, model: nn.Module, params: ModelParams, tokens: Tokens, targets: NDArray[np.float32], schedule: Schedule, seed: int, name: str
    ) -> TrainReport:
        loss = EmbeddingLoss(params.distill.similarity_weight, params.distill.temperature)
        return distill.train_encoder(model, tokens, targets, loss, schedule, params.distill.batch_size, seed, name)

    def _quality(self, encode: Encode, tokenizer: Tokenizer, params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
        wanted = artifacts.load_tensors(paths.teacher / EVALUATION)
        tokens = _evaluation_tokens(paths.data, tokenizer, params.student.max_tokens)
        given = {name: encode(_examples(tokens[name])) for name in ("heldout", "summaries", "bodies") if name in tokens}
        return {"fidelity_spearman": quality.fidelity_spearman(given["heldout"], wanted["heldout"]), **_retrieval_quality(given)}

    def _save(
        self,
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
        artifacts.save_model(model, out)
        measured = self._quality(torch_encode(model), load_tokenizer(out / TOKENIZER), params, paths)
        return {**_size(model, out / WEIGHTS), "quality": dict(measured), "training": asdict(trained), **more}


def torch_encode(model: nn.Module, batch_tokens: int = 4096) -> Encode:
    """Run a PyTorch model over examples, in batches of similar length."""

    def encode(examples: Sequence[Arrays]) -> NDArray[np.float32]:
        lengths = [example["input_ids"].shape[1] for example in examples]
        ids = np.concatenate([example["input_ids"][0] for example in examples])
        tokens = Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return label.embed(model, tokens, batch_tokens, "evaluate")

    return encode


def _open_teacher(checkpoint: sources.Checkpoint) -> tuple[label.Teacher, TeacherEncoder | None]:
    if checkpoint.is_saved_model:
        # Imports TensorFlow, an optional extra.
        from pipeline.teacher.black_box import SavedModelTeacher

        return SavedModelTeacher(checkpoint.folder), None
    module = load_encoder(checkpoint.folder)
    return module, module


def _evaluation_tokens(data: Path, tokenizer: Tokenizer, max_tokens: int) -> dict[str, Tokens]:
    texts = {"validation": storage.load_texts(data / storage.VALIDATION), "heldout": storage.load_texts(data / storage.HELDOUT)}
    pairs = storage.load_pairs(data / storage.RETRIEVAL)
    if pairs:
        texts["summaries"] = [pair.summary for pair in pairs]
        texts["bodies"] = [pair.body for pair in pairs]
    return {name: tokenize(split_texts, tokenizer, max_tokens) for name, split_texts in texts.items()}


def _retrieval_quality(embeddings: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    if "summaries" not in embeddings:
        return {}
    queries, bodies = embeddings["summaries"], embeddings["bodies"]
    return {f"recall_at_{count}": quality.recall_at(queries, bodies, count) for count in (1, 10)}


def _labels(paths: ModelLayout) -> tuple[Tokens, NDArray[np.float32]]:
    labels = artifacts.load_tensors(paths.teacher / LABELS)
    return Tokens(labels["ids"], labels["offsets"]), labels["embeddings"].astype(np.float32)


def _size(model: nn.Module | None, weights: Path) -> dict[str, Any]:
    """Parameters, multiply-accumulates of one text of 32 tokens, and bytes; a black box tells none of them."""
    if model is None:
        return {"params": None, "macs_at_32_tokens": None, "size_bytes": None}
    ones = torch.ones(1, _REPORT_LENGTH, dtype=torch.int32)
    macs = measures.count_macs(model, {"input_ids": ones, "attention_mask": ones})
    return {"params": measures.count_params(model), "macs_at_32_tokens": macs, "size_bytes": weights.stat().st_size}


def _with_gains(report: Mapping[str, Any], before: TextEncoder, after: TextEncoder, old: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add what pruning gained, and a warning for each measure that did not fall."""
    ones = torch.ones(1, _REPORT_LENGTH, dtype=torch.int32)
    timed = measures.latency_ms({"before": before, "after": after}, {"input_ids": ones, "attention_mask": ones})
    pairs = {key: (old[key], report[key]) for key in ("params", "macs_at_32_tokens", "size_bytes")}
    pairs["torch_latency_p50_ms"] = (timed["before"], timed["after"])
    gains = {name: {"before": a, "after": b, "ratio": b / a} for name, (a, b) in pairs.items()}
    warnings = [f"pruning did not lower {name}: {a:.6g} before, {b:.6g} after" for name, (a, b) in pairs.items() if b >= a]
    return {**report, "gains": gains, "warnings": warnings}


def _calibration(tokens: Tokens, count: int, length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Texts padded to one length, int32 `[count, length]` each; the longest of them come first in no particular order."""
    ids = np.zeros((min(count, len(tokens)), length), np.int32)
    mask = np.zeros_like(ids)
    for row in range(len(ids)):
        text = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]][:length]
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask


def _examples(tokens: Tokens) -> list[Arrays]:
    """Each text as the inputs of one call, int32 `[1, length]`."""
    examples = []
    for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids = tokens.ids[None, start:end]
        examples.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return examples
