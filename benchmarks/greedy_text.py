"""Greedy text of every engine's fp32 against PyTorch, token for token, and how far reduced precisions follow it.

    python -m benchmarks.greedy_text bard-chat
    python -m benchmarks.greedy_text bard --prompts 50 --tokens 256 --variants fp32 int8

Prompts are held-out texts of the build, cut at lengths around each piece in which a prompt is read. The last one leaves
so little of the largest cache that the text fills it to its end. The exit code is 1 where an fp32 text differs.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from pipeline import students, tasks
from pipeline.engines.torch_session import TorchSession
from pipeline.layout import Engine, Layout, Variant
from pipeline.params.file import load_params
from pipeline.records.export import Export
from pipeline.runtime.session import Precision, open_session
from pipeline.tasks.causal_lm.judging import heldout
from pipeline.text.scoring import first_difference, greedy

Prompts = list[tuple[NDArray[np.int32], int]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--variants", nargs="*", default=["fp32"])
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    prompts = make_prompts(given.model, given.prompts, given.tokens)
    jobs = [(given.model, "", "", prompts)]
    for engine in Engine:
        export = Export.read(Layout().model(given.model).export_manifest(engine))
        jobs += [
            (given.model, engine.value, variant.value, prompts)
            for variant in export.variants
            if variant.value in given.variants
        ]
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        wanted, *others = pool.map(say, *zip(*jobs, strict=True))
        faults = 0
        for (_, engine, variant, _), said in zip(jobs[1:], others, strict=True):
            common = [first_difference(one, other) for one, other in zip(said, wanted, strict=True)]
            same = sum(length == len(one) for length, one in zip(common, wanted, strict=True))
            share = sum(common) / sum(len(one) for one in wanted)
            print(
                f"{engine} {variant}: {same} of {len(prompts)} texts identical, {share:.1%} of the tokens before that"
            )
            for number, (length, one) in enumerate(zip(common, wanted, strict=True)):
                if variant == Variant.FP32 and length < len(one):
                    print(f"  text {number} (prompt of {len(prompts[number][0])}): differs at token {length}")
                    faults += 1
    return int(faults > 0)


def make_prompts(model: str, count: int, tokens: int) -> Prompts:
    """Beginnings of held-out texts, each with the number of tokens to make."""
    params, paths = load_params(Layout().params).params.models[model], Layout().model(model)
    pieces = [size for size in params.export.tokens if size > 1]  # type: ignore[attr-defined]
    context = max(params.export.caches)  # type: ignore[attr-defined]
    edges = [size + off for size in pieces for off in (-1, 0, 1)]
    lengths = [1, *edges, *range(5, context - tokens, 7)]
    texts = [text.ids for text in heldout(params, paths.data, paths.quantized)]  # type: ignore[arg-type]
    running = np.concatenate(texts)
    prompts: Prompts = []
    for number in range(count - 1):
        length = lengths[number % len(lengths)]
        start = (number * 97) % (len(running) - length)
        prompts.append((running[start : start + length], tokens))
    full = min(tokens, context // 2)
    return [*prompts, (np.resize(running, context - full + 1), full)]


def say(model: str, engine: str, variant: str, prompts: Prompts) -> list[NDArray[np.int32]]:
    """The greedy texts of a variant; of PyTorch where `engine` is empty."""
    import torch

    torch.set_num_threads(1)
    params, paths = load_params(Layout().params).params.models[model], Layout().model(model)
    if engine:
        entry = Export.read(paths.export_manifest(Engine(engine))).variants[Variant(variant)]
        precision = Precision(**entry.precision.model_dump())
        session = open_session(engine, paths.variant(Engine(engine), Variant(variant)), 1, precision)
    else:
        spec = tasks.serving(params.task).model_spec(params, paths)
        session = TorchSession(students.load_model(paths.quantized), spec)  # type: ignore[assignment]
    said = []
    for number, (prompt, tokens) in enumerate(prompts):
        said.append(greedy(session, prompt, tokens))
        print(f"{engine or 'PyTorch'} {variant}: {number + 1}/{len(prompts)}", flush=True)
    return said


if __name__ == "__main__":
    raise SystemExit(main())
