"""What a run's page shows of its result: tables of figures against budgets, and the verdict as markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.gate_checks import format_number

Json = Mapping[str, Any]
# Title of a table, and the ends of the budgets that stand in it.
TABLES = {
    "latency": ("p95_ms",),
    "sizes": ("size_bytes", "params", "memory_bytes"),
    "quality": ("fidelity_spearman", "int8_fidelity_drop", "recall_at_1_kept"),
}


def tables(verdict: Json) -> dict[str, list[dict[str, str]]]:
    """Rows by title, for the checks of all models; titles without rows are left out."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, model in verdict["models"].items():
        for check in model["checks"]:
            key = check["budget"].rpartition(".")[2]
            title = next((title for title, keys in TABLES.items() if key in keys), None)
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


def misses(verdict: Json) -> list[str]:
    """Messages of the checks that are no PASS, each after its model's name."""
    return [
        f"{name}: {check['message']}"
        for name, model in verdict["models"].items()
        for check in model["checks"]
        if check["verdict"] != "PASS"
    ]


def markdown(verdict: Json, links: Sequence[tuple[str, str]]) -> str:
    """The verdict, what misses its budget, and where to read on.

    Args:
        verdict: the content of verdict.json.
        links: texts and addresses.
    """
    lines = [f"# {verdict['verdict']}", "", f"Measured on {verdict['host'].get('cpu', 'this machine')}.", ""]
    lines += [f"- {message}" for message in misses(verdict)] or ["All budgets are kept."]
    for name, model in verdict["models"].items():
        chosen = ", ".join(f"{engine} {variant or 'nothing'}" for engine, variant in model["chosen"].items())
        lines += ["", f"**{name}**: {model['verdict']}; ships {chosen}"]
    lines += ["", *(f"[{text}]({address})  " for text, address in links)]
    return "\n".join(lines)
