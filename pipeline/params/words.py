"""How values and names of params.yaml are put into sentences."""

import math
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

_NEAR = 0.6


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, whole or by one of its parts between underscores; None if none is near."""

    def likeness(choice: str) -> float:
        parts = (choice, *choice.split("_")) if len(word) > 2 else (choice,)
        return max(SequenceMatcher(None, word, part).ratio() for part in parts)

    best = max(choices, key=likeness, default=None)
    return best if best is not None and likeness(best) >= _NEAR else None


def hint(word: str, choices: Iterable[str]) -> str:
    """Ask for the choice most like `word`, or list them all."""
    names = list(choices)
    guess = nearest(word, names)
    return f"did you mean '{guess}'?" if guess else f"there are {', '.join(names) or 'none'}"


def show(value: Any) -> str:
    """A value of the file in a few words, as YAML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a block of keys"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    text = repr(value) if isinstance(value, str) else str(value)
    kind = "the text " if isinstance(value, str) else ""
    return kind + (text if len(text) <= 60 else text[:57] + "...")
