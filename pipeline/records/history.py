"""`history.jsonl`: what nightly builds found, one JSON line each."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pipeline.layout import Engine
from pipeline.records.base import Part
from pipeline.records.verdict import CheckKind, ModelVerdict, Outcome, Verdict

# The figures that are kept, for the variants that ship.
_KEPT = (CheckKind.LATENCY, CheckKind.SIZE, CheckKind.MEMORY, CheckKind.QUALITY)


class ModelNight(Part):
    """One model in one build.

    Attributes:
        engines: by engine, what was observed by the name of the budget, such as `p95_ms`. Where several cases are
            judged, `p95_ms` is of the first, and `p95_ms token` of the case `token`.
    """

    verdict: Outcome
    engines: Mapping[Engine, Mapping[str, int | float]]


class Night(Part):
    """What is kept of one build.

    Attributes:
        time: when it ended, ISO 8601 with the offset of UTC.
        commit: the commit that was built; `None` where there is no repository.
        exit_code: the build's exit code.
        seconds: how long the build took.
        verdict: the gate's; `None` where the build did not come to it.
        host: fingerprint of the machine.
    """

    time: str
    commit: str | None
    exit_code: int
    seconds: float
    verdict: Outcome | None
    host: str | None
    models: Mapping[str, ModelNight]


def night(verdict: Verdict | None, exit_code: int, seconds: float, commit: str | None, now: datetime) -> Night:
    """What is kept of a build; `verdict` is `None` where it did not come to the gate."""
    models = verdict.models if verdict else {}
    return Night(
        time=now.astimezone(UTC).isoformat(timespec="seconds"),
        commit=commit,
        exit_code=exit_code,
        seconds=round(seconds, 1),
        verdict=verdict.verdict if verdict else None,
        host=verdict.host.get("fingerprint") if verdict else None,
        models={name: ModelNight(verdict=one.verdict, engines=_figures(one)) for name, one in models.items()},
    )


def _figures(model: ModelVerdict) -> dict[Engine, dict[str, int | float]]:
    engines: dict[Engine, dict[str, int | float]] = {}
    for check in model.checks:
        if check.engine is not None and check.kind in _KEPT and check.observed is not None:
            figures = engines.setdefault(check.engine, {})
            figures.setdefault(check.name, check.observed)
            figures[check.label] = check.observed
    return engines


def append(path: Path, entry: Night) -> None:
    """Add a line; a reader sees it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(entry.model_dump_json() + "\n")


def read(path: Path) -> Sequence[Night]:
    """All entries, the oldest first; a line that was torn by a full disk or a kill is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        try:
            found.append(Night.model_validate_json(line))
        except ValidationError:
            continue
    return found
