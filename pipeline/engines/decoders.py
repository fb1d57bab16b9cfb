"""How engines call a decoder with a cache: the same call for a prompt and for one token of an answer.

Each engine writes the graph of `pipeline.students.decoder.Decoder` in its own operators, in
`pipeline/engines/<engine>/decoder.py`: no converter finds the patterns that its CPU kernels are fast at.
"""

from collections.abc import Sequence

from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.runtime.decoder_calls import LOGITS as LOGITS
from pipeline.runtime.decoder_calls import POSITION as POSITION
from pipeline.runtime.decoder_calls import ROWS as ROWS
from pipeline.runtime.decoder_calls import TOKENS as TOKENS
from pipeline.students.decoder import DecoderConfig


def decoder_spec(config: DecoderConfig, tokens: Sequence[int], caches: Sequence[int]) -> ModelSpec:
    """The call of a decoder.

    `tokens` int32 [1, n] are the next n tokens, and `position` int32 [1] is how many came before them. `rows` int32
    [rows] says of which of the n tokens the logits are wanted: the last one to go on, all of them to score a text. The
    output is float32 [rows, vocabulary]. A session takes any n and any rows as long as the largest cache holds them,
    whatever shapes its file has.

    The state is one tensor of keys and one of values a layer. Its axis `cache` has no fixed size: it is how many
    positions a buffer holds. A state starts small and grows while a text does.

    Args:
        config: of the decoder.
        tokens: the lengths of a call that engines with fixed shapes serve; 1 is among them.
        caches: the sizes of the cache that engines with fixed shapes serve; the largest ends every text.
    """
    axes = ("batch", config.kv_heads, "cache", config.head_dim)
    return ModelSpec(
        inputs=(
            TensorSpec(TOKENS, "int32", ("batch", "tokens")),
            TensorSpec(POSITION, "int32", ("batch",)),
            TensorSpec(ROWS, "int32", ("rows",)),
        ),
        output=TensorSpec(LOGITS, "float32", ("rows", config.vocabulary)),
        shapes=tuple(
            {"batch": 1, "tokens": length, "rows": 1, "cache": cache} for cache in caches for length in tokens
        ),
        state=tuple(
            TensorSpec(f"{kind}.{layer}", "float32", axes)
            for kind in ("keys", "values")
            for layer in range(config.layers)
        ),
    )
