"""What a decoder's inputs and output are called, and what every session checks before a call.

`pipeline.engines.decoders.decoder_spec` says what they are.
"""

from typing import Any

from numpy.typing import NDArray

from pipeline.runtime.errors import RuntimeInputError

INPUTS = TOKENS, POSITION, ROWS = "tokens", "position", "rows"
LOGITS = "logits"


def require_call(tokens: NDArray[Any], position: NDArray[Any], rows: NDArray[Any], length: int) -> None:
    """Refuse inputs of wrong shapes, a position that is not the state's `length`, and rows that are no tokens.

    Raises:
        RuntimeInputError: names the input, what it is and what it may be.
    """
    if tokens.ndim != 2 or tokens.shape[0] != 1 or tokens.shape[1] < 1:
        raise RuntimeInputError(f"tokens has shape {list(tokens.shape)}: a decoder takes [1, n], n at least 1")
    if position.shape != (1,) or position[0] != length:
        raise RuntimeInputError(
            f"position is {position.tolist()}, but the state holds {length} tokens: pass [{length}]"
        )
    if rows.ndim != 1 or not rows.size or rows.min() < 0 or rows.max() >= tokens.shape[1]:
        raise RuntimeInputError(f"rows is {rows.tolist()}: choose from 0 to {tokens.shape[1] - 1}")


def require_room(length: int, count: int, largest: int) -> None:
    """Refuse a text that is longer than the largest cache.

    Args:
        length: tokens in the state.
        count: tokens of the call.
        largest: positions that the largest cache holds.

    Raises:
        RuntimeInputError: says how long a text may be.
    """
    if length + count > largest:
        raise RuntimeInputError(
            f"the text has {length + count} tokens, {length} of them in the state: "
            f"this model takes at most {largest}; shorten the text or start a new state"
        )
