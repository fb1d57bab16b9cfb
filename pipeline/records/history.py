"""What nightly builds found, one JSON line each: artifacts/history.jsonl."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# The budgets whose observed numbers are kept, for the variant that ships: these, and whatever a task calls quality.
_KEPT = ("p95_ms", "size_bytes", "memory_bytes")
_QUALITY = ".quality."

Json = Mapping[str, Any]


def entry(verdict: Json | None, exit_code: int, seconds: float, commit: str | None, now: datetime) -> dict[str, Any]:
    """What is kept of one build.

    Args:
        verdict: the content of verdict.json; None where the build did not come to the gate.
        exit_code: of the build.
        seconds: it took.
        commit: that was built.
        now: when it ended.
    """
    models = (verdict or {}).get("models", {})
    return {
        "time": now.astimezone(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "exit_code": exit_code,
        "seconds": round(seconds, 1),
        "verdict": (verdict or {}).get("verdict"),
        "host": (verdict or {}).get("host", {}).get("fingerprint"),
        "models": {name: {"verdict": model["verdict"], "engines": _figures(model)} for name, model in models.items()},
    }


def _figures(model: Json) -> dict[str, dict[str, float]]:
    """Observed numbers by engine and name of the budget."""
    engines: dict[str, dict[str, float]] = {}
    for check in model["checks"]:
        key = check["budget"].rpartition(".")[2]
        kept = key in _KEPT or _QUALITY in check["budget"]
        if check["engine"] and kept and check["observed"] is not None:
            engines.setdefault(check["engine"], {})[key] = check["observed"]
    return engines


def append(path: Path, line: Json) -> None:
    """Add a line; a reader sees it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, allow_nan=False) + "\n")


def read(path: Path) -> list[Json]:
    """All lines, the oldest first; a line that was torn by a full disk or a kill is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found: list[Json] = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
