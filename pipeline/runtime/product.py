"""What a release does on a device: one product a verb, loaded on one engine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import EngineError
from pipeline.runtime.session import Inputs, Session

# Digits that float32 holds; more of them in JSON are noise.
DIGITS = 7
_GOLDEN_DIGITS = 6


class Product(Protocol):
    """One verb of a release: what is recorded and compared as golden, and what `bardlet run` writes.

    Examples are what the verb takes: texts, or images as arrays.
    """

    def golden_inputs(self, examples: Sequence[Any]) -> dict[str, Any]:
        """What golden.json holds of the examples, how they are made ready, and how far outputs may be off."""
        ...

    def golden_outputs(self, examples: Sequence[Any]) -> dict[str, Any]:
        """What golden.json holds of this engine.

        Returns:
            `outputs`, rows of numbers `[n, d]` that engines must agree on, and what else `compare` needs.
        """
        ...

    def compare(self, golden: Mapping[str, Any]) -> list[str]:
        """One line for each golden example that is made ready or answered differently here.

        Raises:
            KeyError, TypeError, ValueError: `golden` is damaged.
        """
        ...

    def lines(self, inputs: Sequence[str], top: int) -> Iterator[str]:
        """What `bardlet run` writes for its arguments, one JSON line each.

        Args:
            inputs: texts, or paths of images.
            top: how many answers of each, where there are several.

        Raises:
            RuntimeInputError: an input cannot be used.
        """
        ...


def rounded(rows: NDArray[np.floating[Any]]) -> list[list[float]]:
    """Rows of outputs as golden.json holds them."""
    short: list[list[float]] = rows.astype(np.float64).round(_GOLDEN_DIGITS).tolist()
    return short


def run_rows(
    engine: str, session: Session, inputs: Inputs, expected: tuple[int, int], what: str
) -> NDArray[np.float32]:
    """Run a model and check what it returns.

    Args:
        engine: its name, for messages.
        session: the session of the model.
        inputs: the inputs of one run.
        expected: rows and columns that must come back.
        what: the inputs in words, for messages.

    Returns:
        float32 [rows, columns].

    Raises:
        EngineError: another shape, or NaN or infinity.
    """
    output = session.run(inputs)
    if output.shape != expected:
        raise EngineError(f"{engine} returned shape {output.shape}, expected {expected} as in the manifest")
    if not np.isfinite(output).all():
        raise EngineError(f"{engine} returned NaN or infinity for {what}")
    return output
