"""Reads what the stages left. What is missing gives a note on the page, not an error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import IntegrityError
from pipeline.layout import Layout
from pipeline.records import history
from pipeline.records.base import Record
from pipeline.records.results import Measurement, Results
from pipeline.records.verdict import Verdict
from pipeline.records.verification import Verification

# More points than this add nothing to a drawn distribution.
_MAX_SAMPLES = 100_000

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Artifacts:
    """Everything that the report shows.

    Attributes:
        verdict: `None` when it is missing; so is `results`.
        verifications: by model; without those that are missing.
        notes: what is missing, and what to do about it.
        nights: what nightly builds found, the oldest first.
    """

    layout: Layout
    verdict: Verdict | None
    verifications: Mapping[str, Verification]
    results: Results | None
    notes: tuple[str, ...]
    nights: Sequence[history.Night] = ()

    def samples(self, measurement: Measurement) -> NDArray[np.float64] | None:
        """Raw latencies in milliseconds, float64 `[n]`; `None` when their file is missing or is no array."""
        path = self.layout.results.parent / measurement.samples
        try:
            values = np.load(path, allow_pickle=False).astype(np.float64).ravel()
        except (OSError, ValueError):
            return None
        values = values[np.isfinite(values) & (values > 0)]
        return values[:: len(values) // _MAX_SAMPLES + 1] if values.size else None


def read_artifacts(layout: Layout, fleet: Sequence[str]) -> Artifacts:
    """Read what there is.

    Raises:
        IntegrityError: there is nothing at all, so that a page would say nothing.
    """
    notes: list[str] = []
    verdict = _read(Verdict, layout.verdict, notes)
    results = _read(Results, layout.results, notes)
    read = {name: _read(Verification, layout.model(name).verification, notes) for name in fleet}
    verifications = {name: entry for name, entry in read.items() if entry is not None}
    if verdict is None and results is None and not verifications:
        raise IntegrityError("\n".join(["nothing to report yet:", *notes]))
    return Artifacts(layout, verdict, verifications, results, tuple(notes), history.read(layout.history))


def _read(kind: type[R], path: Path, notes: list[str]) -> R | None:
    try:
        return kind.read(path)
    except IntegrityError as error:
        notes.append(str(error))
        return None
