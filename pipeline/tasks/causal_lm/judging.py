"""Quality of a language model: how well it foretells, and how far a reduced one says what PyTorch says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import weights
from pipeline.layout import REPORT, ModelLayout
from pipeline.records.step import StepReport
from pipeline.runtime.session import Session
from pipeline.tasks.causal_lm.params import GREEDY_PROMPT_TOKENS, GREEDY_TOKENS, ModelParams
from pipeline.text import scoring, storage
from pipeline.text.prepared import Prepared, read_prepared
from pipeline.text.scoring import Scored

# What PyTorch says in fp32: the likeliest token at each place of the held-out texts, and greedy continuations.
REFERENCE = "reference.safetensors"
LIKELIEST, GREEDY = "likeliest", "greedy"
# Held-out texts whose first tokens are continued greedily.
_GREEDY_TEXTS = 6


def heldout(params: ModelParams, data: Path, model: Path) -> list[Prepared]:
    """Texts of packages that nothing was trained on, to judge quality on.

    Args:
        params: says where they are cut.
        data: the folder with the split texts.
        model: the folder with the model's tokenizer.
    """
    return list(read_prepared(data / storage.HELDOUT, model, max(params.export.caches)))


def evaluate(session: Session, params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
    """Bits per byte and next tokens on held-out texts, and agreement with PyTorch there and in greedy texts."""
    reference = weights.load_tensors(paths.quantized / REFERENCE)
    scored = scoring.score(session, heldout(params, paths.data, paths.quantized), "evaluate: held-out texts")
    return {
        **foretelling(scored),
        "agreement": scoring.agreement(scored, reference[LIKELIEST]),
        "same_text": _same_text(continue_greedily(session, params, paths.data, paths.quantized), reference[GREEDY]),
    }


def score(session: Session, params: ModelParams, paths: ModelLayout) -> float:
    """Bits per byte of the validation texts; negative, because more is better."""
    texts = list(read_prepared(paths.data / storage.VALIDATION, paths.quantized, max(params.export.caches)))
    return -scoring.bits_per_byte(scoring.score(session, texts, "score"))


def teacher_quality(paths: ModelLayout) -> Mapping[str, float]:
    """The teacher's quality as the teacher stage measured it."""
    return StepReport.read(paths.teacher / REPORT).quality


def foretelling(scored: Sequence[Scored]) -> dict[str, float]:
    """The measures that need no other model."""
    return {"bits_per_byte": scoring.bits_per_byte(scored), "next_token": scoring.next_token_right(scored)}


def continue_greedily(session: Session, params: ModelParams, data: Path, model: Path) -> NDArray[np.int32]:
    """The greedy texts behind the first tokens of held-out texts, int32 `[texts, tokens]`."""
    prompts = [text.ids[:GREEDY_PROMPT_TOKENS] for text in heldout(params, data, model)[:_GREEDY_TEXTS]]
    return np.stack([scoring.greedy(session, prompt, GREEDY_TOKENS) for prompt in prompts])


def write_reference(session: Session, params: ModelParams, data: Path, model: Path) -> dict[str, float]:
    """Write what PyTorch says into the folder `model`, and return its own quality; it agrees with itself.

    Args:
        session: PyTorch's, of the model in that folder.
        data: the folder with the split texts.
        model: the folder, which has the tokenizer already.
    """
    scored = scoring.score(session, heldout(params, data, model), "evaluate: PyTorch")
    likeliest = np.concatenate([one.likeliest for one in scored])
    said = continue_greedily(session, params, data, model)
    weights.save_tensors({LIKELIEST: likeliest, GREEDY: said}, model / REFERENCE)
    return {**foretelling(scored), "agreement": 1.0, "same_text": 1.0}


def _same_text(given: NDArray[np.int32], wanted: NDArray[np.int32]) -> float:
    common = [scoring.first_difference(one, other) for one, other in zip(given, wanted, strict=True)]
    return sum(common) / wanted.size
