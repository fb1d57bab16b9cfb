"""What was measured about a model, as the model card and the report show it."""

from collections.abc import Mapping
from typing import Any

from pipeline.params.blocks import BudgetCase

Json = Mapping[str, Any]


def measurement(results: Json, model: str, engine: str, variant: str, case: BudgetCase) -> Json | None:
    """The measurement of a variant in the case that the budgets name; `None` where there is none."""
    for one in results["measurements"]:
        same = (one["model"], one["engine"], one["variant"]) == (model, engine, variant)
        if same and _shape_matches(one, case) and _threads_match(one, case):
            return dict(one)
    return None


def _shape_matches(one: Json, case: BudgetCase) -> bool:
    return all(one.get(axis) == size for axis, size in case.shape().items())


def _threads_match(one: Json, case: BudgetCase) -> bool:
    all_cores = bool(one.get("all_cores", False))
    return all_cores if case.threads == "all" else one["threads"] == case.threads and not all_cores


def variant_entry(variants: Json, engine: str, variant: str) -> Json | None:
    """The entry of a variant in variants.json."""
    for one in variants["variants"]:
        if (one["engine"], one["variant"]) == (engine, variant):
            return dict(one)
    return None


def describe_case(case: BudgetCase) -> str:
    """The case in words, such as `batch 1, 32 tokens, 1 thread`."""
    threads = {"all": "all cores", 1: "1 thread"}.get(case.threads, f"{case.threads} threads")
    return f"{case.describe_shape()}, {threads}"


def describe_host(host: Json) -> str:
    """The machine in words."""
    flags = ", ".join(host.get("flags", [])) or "none of the known instruction sets"
    cores, usable = host.get("logical_cores", "?"), host.get("usable_cores")
    used = f", {usable} of them used" if usable not in (None, cores) else ""
    memory = f"{host['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in host else "unknown memory"
    return f"{host.get('cpu', 'unknown CPU')}, {cores} logical cores{used}, {memory}; {flags}; {host.get('os', '')}"
