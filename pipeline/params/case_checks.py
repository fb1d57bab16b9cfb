"""The cases that latency is judged in: one or several with names, each of a shape that is exported."""

import re
from collections.abc import Iterator, Mapping

from pipeline.layout import Engine
from pipeline.params.words import hint, nearest
from pipeline.params.yaml_lines import Document, KeyPath, Problem

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def problems(document: Document, model: KeyPath) -> list[Problem]:
    """What is wrong with the cases in `budgets` of the model at `model`."""
    return [
        *_one_kind_of_case(document, model),
        *_names(document, model),
        *_batches(document, model),
        *_latencies(document, model),
    ]


def judged_cases(document: Document, model: KeyPath) -> list[KeyPath]:
    """Where the cases stand whose latency is judged: `budgets.case`, or each of `budgets.cases`."""
    budgets = (*model, "budgets")
    single = [(*budgets, "case")] if document.get((*budgets, "case"), dict) else []
    return single + [(*budgets, "cases", name) for name in document.get((*budgets, "cases"), dict) or {}]


def _one_kind_of_case(document: Document, model: KeyPath) -> Iterator[Problem]:
    budgets = (*model, "budgets")
    case, cases = (*budgets, "case"), (*budgets, "cases")
    single, several = document.get(case, dict), document.get(cases, dict)
    if single is not None and several is not None:
        message = f"stands beside `case`{document.mention(case)}: write `none` for one of the two"
        yield document.problem(cases, message)
    elif several == {}:
        yield document.problem(cases, "names no case: write at least one, or `case`")
    elif _lacks_both(document.get(budgets, dict)):
        message = "has neither `case` nor `cases`: write the case that latency is judged in"
        yield document.problem(budgets, message)


def _lacks_both(budgets: Mapping[str, object] | None) -> bool:
    """Whether both are left out; a key much like them is reported as a misspelt one, and not as a missing one too."""
    names = ("case", "cases")
    if not budgets or any(budgets.get(name, "none") != "none" for name in names):
        return False
    return not any(nearest(key, names) for key in budgets if key not in names)


def _names(document: Document, model: KeyPath) -> Iterator[Problem]:
    cases = (*model, "budgets", "cases")
    for name in document.get(cases, dict) or {}:
        if not _NAME.fullmatch(name):
            yield document.problem((*cases, name), "a case's name is made of a-z, 0-9 and _, and starts with a letter")


def _batches(document: Document, model: KeyPath) -> Iterator[Problem]:
    throughput = document.get((*model, "export", "batch"), int)
    for case in judged_cases(document, model):
        batch = document.get((*case, "batch"), int)
        if batch is not None and throughput is not None and batch not in (1, throughput):
            message = f"is {batch}, a shape that is not exported: use 1 or {throughput} (export.batch)"
            yield document.problem((*case, "batch"), message)


def _latencies(document: Document, model: KeyPath) -> Iterator[Problem]:
    budgets = (*model, "budgets")
    cases = document.get((*budgets, "cases"), dict)
    is_single = document.get((*budgets, "case"), dict) is not None
    for engine in Engine:
        path = (*budgets, engine.value, "p95_ms")
        given = document.get(path, (int, float, dict))
        if isinstance(given, dict) and is_single and not cases:
            message = f"has names, but there is one `case`{document.mention((*budgets, 'case'))}: write one number"
            yield document.problem(path, message)
        elif isinstance(given, dict) and cases:
            yield from _named_latencies(document, path, given, cases)
        elif given is not None and cases and not is_single:
            example = ", ".join(f"{name}: {given}" for name in cases)
            yield document.problem(path, f"is one number, but there are several cases: write `{{{example}}}`")


def _named_latencies(
    document: Document, path: KeyPath, given: Mapping[str, object], cases: Mapping[str, object]
) -> Iterator[Problem]:
    missing = [name for name in cases if name not in given]
    for name in given:
        if name not in cases:
            yield document.problem(
                (*path, name), f"'{name}' is no case of budgets.cases; {hint(name, missing or cases)}"
            )
            missing = [other for other in missing if other != nearest(name, missing)]
    if missing:
        lacking = ", ".join(missing)
        yield document.problem(path, f"lacks {lacking} of budgets.cases: write a number or `none` for each case")
