"""Makes what the page of a run shows: tables of figures against budgets, and the verdict as markdown."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pipeline.gate.checks import format_number
from pipeline.layout import Layout
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult

Json = Mapping[str, Any]
# Title of a table, and the last parts of the budgets that stand in it; quality is whatever a task calls so.
_TABLES = {"latency": ("p95_ms",), "sizes": ("size_bytes", "params", "memory_bytes")}
_QUALITY = "quality"


def tables(verdict: Json) -> dict[str, list[dict[str, str]]]:
    """Rows by title, for the checks of all models; titles without rows are left out."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, model in verdict["models"].items():
        for check in model["checks"]:
            key = check["budget"].rpartition(".")[2]
            quality = _QUALITY if f".{_QUALITY}." in check["budget"] else None
            title = next((title for title, keys in _TABLES.items() if key in keys), quality)
            if title is not None:
                found.setdefault(title, []).append(_row(name, key, check))
    return found


def _row(model: str, key: str, check: Json) -> dict[str, str]:
    def number(value: float | None) -> str:
        return "-" if value is None else format_number(value, check["unit"])

    return {
        "model": model,
        "variant": " ".join(filter(None, [check["engine"], check["variant"]])) or "student",
        "budget": key,
        "observed": number(check["observed"]),
        "allowed": number(check["allowed"]),
        "margin": "-" if check["margin_fraction"] is None else f"{check['margin_fraction']:+.1%}",
        "verdict": check["verdict"],
    }


def stage_rows(results: Sequence[StageResult]) -> list[dict[str, str]]:
    """A row for each stage that was not up to date: how it ended, how long it took, and why it ran."""
    return [
        {
            "stage": result.name,
            "outcome": str(result.outcome),
            "seconds": f"{result.seconds:.1f}" if result.seconds else "-",
            "why": result.message or "; ".join(result.reasons),
        }
        for result in results
        if result.outcome is not StageOutcome.CACHED
    ]


def misses(verdict: Json) -> list[str]:
    """Messages of the checks that are no PASS, each after its model's name."""
    return [
        f"{name}: {check['message']}"
        for name, model in verdict["models"].items()
        for check in model["checks"]
        if check["verdict"] != "PASS"
    ]


def links(layout: Layout, verdict: Json, pages: str | None) -> list[tuple[str, str | None]]:
    """Texts and addresses of the report and the model cards that are there.

    Args:
        pages: where `pipeline.orchestration.pages.web` serves the workspace; without it the text is the file's
            path and the address None.
    """
    places = [("report", layout.report)]
    places += [(f"model card of {name}", layout.model(name).release / "README.md") for name in verdict["models"]]
    found = [(text, path) for text, path in places if path.exists()]
    if pages is None:
        return [(f"{text}: {path}", None) for text, path in found]
    return [(text, f"{pages}/{quote(path.relative_to(layout.root).as_posix())}") for text, path in found]


def markdown(verdict: Json, links: Sequence[tuple[str, str | None]]) -> str:
    """The verdict, what misses its budget, what ships, and where to read on.

    Args:
        verdict: the content of verdict.json.
        links: texts, and addresses where there are some.
    """
    lines = [f"# {verdict['verdict']}", ""]
    lines += [f"- {message}" for message in misses(verdict)] or ["All budgets are kept."]
    lines += ["", "| model | verdict | ships |", "|---|---|---|"]
    for name, model in verdict["models"].items():
        chosen = ", ".join(f"{engine} {variant or 'nothing'}" for engine, variant in model["chosen"].items())
        lines.append(f"| {name} | {model['verdict']} | {chosen} |")
    lines += ["", *(f"- [{text}]({address})" if address else f"- {text}" for text, address in links)]
    lines += ["", f"Measured on {verdict['host'].get('cpu', 'this machine')}."]
    return "\n".join(lines)
