"""How a decoder is called: prompts in pieces, answers token by token, and real text in both."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import files, students
from pipeline.engines.decoders import decoder_spec
from pipeline.engines.spec import Arrays, Case, ModelSpec
from pipeline.errors import InputError
from pipeline.layout import CONFIG, ModelLayout
from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.students.decoder import Decoder, DecoderConfig
from pipeline.tasks.causal_lm.judging import heldout
from pipeline.tasks.causal_lm.params import ModelParams
from pipeline.text.scoring import whole_call

# Reports state the multiply-accumulates of one token behind so many.
_COUNTED_BEFORE = 128
# Prompts whose time to the first token is measured, and fills of the cache at which a token's time is. A prompt of 512
# would take half of a build's time; benchmarks/llama_cpp_reference.py measures it.
_PROMPTS = (32, 128)
_FILLS = (16, 128, 240)


class OneToken(nn.Module):
    """A decoder's step as a call that counters of multiply-accumulates understand."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model
        config = model.config
        shape = (1, config.kv_heads, _COUNTED_BEFORE + 1, config.head_dim)
        self._state = [torch.zeros(shape) for _ in range(2 * config.layers)]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of what follows a token `[1, 1]`."""
        position, rows = torch.tensor([_COUNTED_BEFORE]), torch.zeros(1, dtype=torch.long)
        return self.model(tokens, position, rows, *self._state)[0]  # type: ignore[no-any-return]


def example() -> dict[str, Tensor]:
    """The input of `OneToken`."""
    return {"tokens": torch.zeros(1, 1, dtype=torch.long)}


def load_teacher(paths: ModelLayout) -> nn.Module | None:
    """The teacher's decoder; None for one that no engine runs, such as GPT-2, which is there to learn from."""
    model = students.load_model(paths.teacher_checkpoint, Decoder)
    return None if model.config.unsupported_by_engines() else model


def model_spec(params: ModelParams, paths: ModelLayout) -> ModelSpec:
    """The call of the student, whose own configuration decides the sizes of its cache."""
    return _spec(params, DecoderConfig.from_json(files.read_json(paths.quantized / CONFIG)))


def teacher_spec(params: ModelParams, paths: ModelLayout) -> ModelSpec:
    """The call of the teacher."""
    return _spec(params, DecoderConfig.from_json(files.read_json(paths.teacher_checkpoint / CONFIG)))


def comparison_inputs(params: ModelParams, paths: ModelLayout, count: int) -> Sequence[Arrays]:
    """Held-out texts read in one call each, with a row for every token."""
    return [whole_call(text.ids) for text in heldout(params, paths.data, paths.quantized)[:count]]


def cases(params: ModelParams, paths: ModelLayout) -> Sequence[Case]:
    """Prompts of several lengths, and a token at several fills of the cache; the judged ones among them."""
    longest = max(params.export.caches)
    wanted = {(tokens, 0) for tokens in _PROMPTS if tokens <= longest}
    wanted |= {(1, before) for before in _FILLS if before < longest}
    judged = [case.shape() for case in params.budgets.judged().values()]
    wanted |= {(shape["tokens"], shape["before"]) for shape in judged}
    text = _running_text(params, paths, longest)
    return [_case(text, tokens, before) for tokens, before in sorted(wanted)]


def _spec(params: ModelParams, config: DecoderConfig) -> ModelSpec:
    if reason := config.unsupported_by_engines():
        raise InputError(f"the decoder {reason}, and engines run none of that kind: distil it into a `student`")
    return decoder_spec(config, params.export.tokens, params.export.caches)


def _running_text(params: ModelParams, paths: ModelLayout, count: int) -> NDArray[np.int32]:
    """`count` tokens of held-out text, int32."""
    ids = np.concatenate([text.ids for text in heldout(params, paths.data, paths.quantized)])
    if len(ids) < count:
        raise InputError(f"the held-out texts have {len(ids)} tokens, too few to fill a cache of {count}: give more")
    return ids[:count]


def _case(text: NDArray[np.int32], tokens: int, before: int) -> Case:
    shape = {"batch": 1, "tokens": tokens, "before": before}
    name = f"t{tokens}_after{before}" if before else f"t{tokens}"
    filled = _call(text, 0, before) if before else None
    return Case(name, shape, _call(text, before, tokens), filled)


def _call(text: NDArray[np.int32], start: int, count: int) -> Mapping[str, NDArray[np.int32]]:
    return {
        TOKENS: text[None, start : start + count].copy(),
        POSITION: np.array([start], np.int32),
        ROWS: np.array([count - 1], np.int32),
    }
