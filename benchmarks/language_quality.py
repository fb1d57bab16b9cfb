"""What `bard` foretells, beside its teacher, itself without a teacher, an n-gram model of the same bytes, and xz.

    python -m benchmarks.language_quality bard
    python -m benchmarks.language_quality bard --words 3 --without-teacher

Everything reads the held-out documents of the build. Intervals (95 %) are over packages, drawn with replacement; those
of a ratio are of the paired difference. `--without-teacher` trains the same student again, without labels and without
the teacher's table, on the same texts, in the same order, for the same steps.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import students, weights
from pipeline.compress.tokens import labels, stream
from pipeline.compress.tokens.distill import train_student
from pipeline.layout import GENERATION, TOKENIZER, Engine, Layout, ModelLayout, Variant
from pipeline.params.file import load_params
from pipeline.records.export import Export
from pipeline.records.generation import Generation
from pipeline.runtime.memory import Memory
from pipeline.runtime.session import Precision, open_session
from pipeline.students.decoder import Decoder
from pipeline.tasks.causal_lm import training
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.text import bpe, document_split, ngram, storage, writing
from pipeline.text.documents import Whole
from pipeline.text.tokens import load_tokenizer
from pipeline.text.writing import Figures, Tally

NGRAM = 4
ENGINE, VARIANT = Engine.TFLITE, Variant.INT8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--words", type=int, default=0, help="words of each document that are typed; 0 types none")
    parser.add_argument("--without-teacher", action="store_true", help="train the same student without a teacher")
    given = parser.parse_args()
    loaded = load_params(Layout().params)
    params, paths = loaded.params.models[given.model], Layout().model(given.model)
    assert isinstance(params, ModelParams)
    held = document_split.load(paths.data / storage.HELDOUT)
    found = {"student, fp32 in PyTorch": bits_of(students.load_model(paths.quantized, Decoder), paths.quantized, held)}
    found["teacher"] = bits_of(students.load_model(paths.teacher_checkpoint, Decoder), paths.teacher_checkpoint, held)
    found["n-grams of the same bytes"] = bits_of_ngrams(paths, held)
    if given.without_teacher:
        alone = train_alone(params, paths, loaded.params.seed)
        found["student without a teacher"] = bits_of(alone, paths.quantized, held)
    show(found, loaded.params.seed)
    print(f"xz of the held-out texts: {ngram.xz_bits_per_byte([one.text for one in held]):.3f} bits per byte")
    if given.words:
        show_words(paths, max(params.export.caches), held, given.words, loaded.params.seed)


def bits_of(model: Decoder, path: Path, documents: Sequence[Whole]) -> dict[str, Tally]:
    tokenizer, start = load_tokenizer(path / TOKENIZER), Generation.read(path / GENERATION).start

    def surprise(ids: NDArray[np.int32]) -> NDArray[np.float64]:
        read = torch.from_numpy(np.concatenate([[start], ids]).astype(np.int64))[None]
        with torch.inference_mode():
            logits = model.logits(read[:, :-1])[0].double()
        chosen: NDArray[np.float64] = torch.log_softmax(logits, 1)[torch.arange(len(ids)), read[0, 1:]].numpy()
        return chosen

    return writing.measure_bits(documents, tokenizer, surprise)


def bits_of_ngrams(paths: ModelLayout, documents: Sequence[Whole]) -> dict[str, Tally]:
    tokenizer, start = load_tokenizer(paths.quantized / TOKENIZER), Generation.read(paths.quantized / GENERATION).start
    size = Export.read(paths.export_manifest(ENGINE)).variants[VARIANT].size_bytes
    texts = [one.text for one in document_split.load(paths.data / storage.TRAIN)]
    joined = stream.join_texts(bpe.encode(texts, tokenizer), start)
    model = ngram.train_ngrams(joined, tokenizer.get_vocab_size(), NGRAM, size)
    print(f"{NGRAM}-grams: {model.bytes:,} bytes; {ENGINE} {VARIANT}: {size:,}")

    def surprise(ids: NDArray[np.int32]) -> NDArray[np.float64]:
        logarithms: NDArray[np.float64] = np.log(model.probabilities(np.concatenate([[start], ids]).astype(np.int32)))
        return logarithms

    return writing.measure_bits(documents, tokenizer, surprise)


def train_alone(params: ModelParams, paths: ModelLayout, seed: int) -> Decoder:
    """The same student, with a random table and the texts' own tokens alone."""
    assert params.distill != "none"
    torch.manual_seed(seed)
    labelled = weights.load_tensors(paths.teacher / labels.FILE)
    kept = labelled.pop(labels.KEPT)
    lesson = training.lesson_of(params.distill, paths, paths.quantized, labels.Labels(**labelled), seed)
    model = Decoder(training.config_of(params, len(kept)))
    train_student(model, replace(lesson, teacher_weight=0.0), training.rates_of(params.distill), "without a teacher")
    return model.eval()


def show(found: dict[str, dict[str, Tally]], seed: int) -> None:
    names = list(found)
    first = found[names[0]]
    for name in names:
        estimate, low, high = writing.interval([found[name]], lambda one: one[0].bits_per_byte, seed)
        line = f"{name:32} {estimate:.3f} bits per byte ({low:.3f} to {high:.3f})"
        if name != names[0]:
            ratio = writing.interval(
                [first, found[name]], lambda two: two[0].bits_per_byte / two[1].bits_per_byte, seed
            )
            line += "; the student needs {:+.1%} ({:+.1%} to {:+.1%})".format(*(value - 1 for value in ratio))
        print(line, flush=True)


def show_words(paths: ModelLayout, context: int, documents: Sequence[Whole], count: int, seed: int) -> None:
    entry = Export.read(paths.export_manifest(ENGINE)).variants[VARIANT]
    precision = Precision(**entry.precision.model_dump())
    memory = Memory(ENGINE.value, open_session(ENGINE.value, paths.variant(ENGINE, VARIANT), 1, precision), context)
    tokenizer, start = load_tokenizer(paths.quantized / TOKENIZER), Generation.read(paths.quantized / GENERATION).start
    tallies = writing.measure_words(documents, tokenizer, memory.follow, start, count)
    shown: dict[str, Callable[[Sequence[Figures]], float]] = {
        "next word, first guess": lambda one: one[0].next_word_top_1,
        "next word, in three": lambda one: one[0].next_word_top_3,
        "keystrokes saved": lambda one: one[0].keystrokes_saved,
    }
    for name, value in shown.items():
        print(
            "{}, {} {}: {:.1%} ({:.1%} to {:.1%})".format(
                name, ENGINE, VARIANT, *writing.interval([tallies], value, seed)
            )
        )


if __name__ == "__main__":
    main()
