"""Makes what the page of a run shows: tables of figures against budgets, and the verdict as markdown."""

from collections.abc import Sequence
from urllib.parse import quote

from pipeline.layout import CARD, Layout
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from pipeline.records.verdict import Check, CheckKind, Verdict

# The table that a check stands in.
_TABLES = {
    CheckKind.LATENCY: "latency",
    CheckKind.SIZE: "sizes",
    CheckKind.PARAMETERS: "sizes",
    CheckKind.MACS: "sizes",
    CheckKind.MEMORY: "sizes",
    CheckKind.QUALITY: "quality",
}


def tables(verdict: Verdict) -> dict[str, list[dict[str, str]]]:
    """Rows by title, for the checks of all models; titles without rows are left out."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, model in verdict.models.items():
        for check in model.checks:
            if (title := _TABLES.get(check.kind)) is not None:
                found.setdefault(title, []).append(_row(name, check))
    return found


def _row(model: str, check: Check) -> dict[str, str]:
    return {
        "model": model,
        "variant": " ".join(filter(None, [check.engine, check.variant])) or "student",
        "budget": check.label,
        "observed": check.text(check.observed),
        "allowed": check.text(check.allowed),
        "margin": "-" if check.margin_fraction is None else f"{check.margin_fraction:+.1%}",
        "verdict": check.verdict.value,
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


def links(layout: Layout, verdict: Verdict, pages: str | None) -> list[tuple[str, str | None]]:
    """Texts and addresses of the report and the model cards that are there.

    Args:
        pages: where `pipeline.orchestration.pages.web` serves the workspace; without it the text is the file's
            path and the address None.
    """
    places = [("report", layout.report)]
    places += [(f"model card of {name}", layout.model(name).release / CARD) for name in verdict.models]
    found = [(text, path) for text, path in places if path.exists()]
    if pages is None:
        return [(f"{text}: {path}", None) for text, path in found]
    return [(text, f"{pages}/{quote(path.relative_to(layout.root).as_posix())}") for text, path in found]


def markdown(verdict: Verdict, links: Sequence[tuple[str, str | None]]) -> str:
    """The verdict, what misses its budget, what ships, and where to read on.

    Args:
        verdict: the gate's.
        links: texts, and addresses where there are some.
    """
    lines = [f"# {verdict.verdict}", ""]
    lines += [f"- {message}" for message in verdict.misses()] or ["All budgets are kept."]
    lines += ["", "| model | verdict | ships |", "|---|---|---|"]
    lines += [f"| {name} | {model.verdict} | {model.ships()} |" for name, model in verdict.models.items()]
    lines += ["", *(f"- [{text}]({address})" if address else f"- {text}" for text, address in links)]
    lines += ["", f"Measured on {verdict.host.get('cpu', 'this machine')}."]
    return "\n".join(lines)
