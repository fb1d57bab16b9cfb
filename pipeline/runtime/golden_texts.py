"""Golden prompts of a generator: how the model continues them, and whether it does so on another machine.

Greedy text may turn at any token where two are about equally probable, and another CPU rounds otherwise. So the
recorded text is read again token by token, and each of its tokens must be nearly the most probable one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.memory import Memory
from pipeline.runtime.product import rounded
from pipeline.runtime.sampling import GREEDY, Ids, Logits, choose

# Tokens of each continuation.
LENGTH = 16
# How far below the highest logit a recorded token's may lie, and how far logits may be off relative to their size.
# Other CPUs round int8 and bf16 differently. Of a model of 135M parameters, bf16 moves the logits by 0.006 and rounding
# all weights to 8, 7 and 4 bits by 0.04, 0.09 and 0.7, with gaps of 0.3, 0.9 and 4; two layers in wrong order by 0.23.
MAX_GAP, MAX_DISTANCE = 1.0, 0.15

_PROBES = 64
_NO_TOKENS: Ids = np.empty(0, np.int32)


def golden_prompts(prompts: Sequence[str], token_ids: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What golden.json holds for all engines."""
    return {
        "max_gap": MAX_GAP,
        "max_distance": MAX_DISTANCE,
        "prompts": list(prompts),
        "token_ids": [list(ids) for ids in token_ids],
    }


def continuations(memory: Memory, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What golden.json holds for one engine.

    Returns:
        `outputs`, some logits behind each prompt, `[n, 64]`, and `greedy`, the tokens that follow it.
    """
    memory.claim()
    outputs, greedy = [], []
    for prompt in prompts:
        logits = memory.follow(prompt)
        outputs.append(_probes(logits))
        greedy.append(_greedy(memory, logits))
    return {"outputs": rounded(np.array(outputs)), "greedy": greedy}


def differences(memory: Memory, prompts: Sequence[Sequence[int]], golden: Mapping[str, Any], engine: str) -> list[str]:
    """One line for each prompt that is read or continued differently here.

    Raises:
        KeyError, TypeError, ValueError: `golden` is damaged.
    """
    problems = [
        f"{text!r:.60}: {len(now)} tokens {list(now)[:8]}..., expected {len(then)} tokens {then[:8]}..."
        for text, now, then in zip(golden["prompts"], prompts, golden["token_ids"], strict=True)
        if list(now) != then
    ]
    if problems:
        return problems
    entry = golden["engines"][engine]
    memory.claim()
    for text, prompt, wanted, greedy in zip(
        golden["prompts"], prompts, np.array(entry["outputs"], np.float64), entry["greedy"], strict=True
    ):
        logits = memory.follow(prompt)
        distance = float(np.linalg.norm(_probes(logits) - wanted) / np.linalg.norm(wanted))
        gap = _largest_gap(memory, logits, greedy)
        for what, found, limit in (
            ("its logits are off by", distance, float(golden["max_distance"])),
            ("a recorded token lies below the best by", gap, float(golden["max_gap"])),
        ):
            if not found <= limit:
                problems.append(f"{text!r:.60}: {engine}: {what} {found:.3g}, allowed {limit:.3g}")
    return problems


def _probes(logits: Logits) -> NDArray[np.float64]:
    """Some logits over the whole vocabulary, minus their mean: it says nothing."""
    ids = np.linspace(0, len(logits) - 1, _PROBES).astype(np.int64)
    probes = logits[ids].astype(np.float64)
    centered: NDArray[np.float64] = probes - probes.mean()
    return centered


def _greedy(memory: Memory, logits: Logits) -> list[int]:
    found: list[int] = []
    rng = np.random.default_rng(0)
    while len(found) < LENGTH:
        found.append(choose(logits, GREEDY, rng, _NO_TOKENS))
        if memory.is_full:
            break
        logits = memory.step(found[-1])
    return found


def _largest_gap(memory: Memory, logits: Logits, tokens: Sequence[int]) -> float:
    """How far the logit of a token lies below the highest one, where that is most, as the text is read."""
    gaps = []
    for token in tokens:
        gaps.append(float(logits.max() - logits[token]))
        if not memory.is_full:
            logits = memory.step(token)
    return max(gaps)
