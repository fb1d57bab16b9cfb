"""Reading what the stages left; what is missing becomes a note on the page instead of an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import IntegrityError
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.records import history

Json = Mapping[str, Any]
_NO_RESULTS: Json = {"host": {}, "settings": {}, "measurements": [], "failures": []}
# More points than this add nothing to a drawn distribution.
_MAX_SAMPLES = 100_000


@dataclass(frozen=True)
class Evidence:
    """Everything the report shows.

    Attributes:
        verdict: the content of verdict.json, `None` when it is missing.
        variants: the content of each model's variants.json; without those that are missing.
        results: the content of results.json; empty lists when it is missing.
        notes: what is missing, and what to do about it.
        history: what nightly builds found, the oldest first.
    """

    layout: Layout
    verdict: Json | None
    variants: Mapping[str, Json]
    results: Json
    notes: tuple[str, ...]
    history: Sequence[Json] = ()

    def samples(self, measurement: Json) -> NDArray[np.float64] | None:
        """Raw latencies in milliseconds; `None` when their file is missing or is no array."""
        path = self.layout.results.parent / measurement["samples"]
        try:
            values = np.load(path, allow_pickle=False).astype(np.float64).ravel()
        except (OSError, ValueError):
            return None
        values = values[np.isfinite(values) & (values > 0)]
        return values[:: len(values) // _MAX_SAMPLES + 1] if values.size else None


def read_evidence(layout: Layout, fleet: tuple[str, ...]) -> Evidence:
    """Read what there is.

    Raises:
        IntegrityError: there is nothing at all, so that a page would say nothing.
    """
    notes: list[str] = []
    verdict = _read(layout.verdict, notes)
    results = _read(layout.results, notes)
    read = {name: _read(layout.model(name).fleet_variants, notes) for name in fleet}
    variants = {name: entry for name, entry in read.items() if entry is not None}
    if verdict is None and results is None and not variants:
        raise IntegrityError("\n".join(["nothing to report yet:", *notes]))
    return Evidence(layout, verdict, variants, results or _NO_RESULTS, tuple(notes), history.read(layout.history))


def _read(path: Path, notes: list[str]) -> Json | None:
    try:
        content: Json = read_json(path)
    except IntegrityError as error:
        notes.append(str(error))
        return None
    return content
