"""What params.yaml must fulfil across its blocks; looked for even where single values are wrong too."""

import re
from collections.abc import Iterator
from typing import get_args

from pipeline.params import model_checks, tasks
from pipeline.params.schema import Params
from pipeline.params.words import hint
from pipeline.params.yaml_lines import Document, Problem

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# Folders of artifacts/ and data/ that are not a model's.
_RESERVED = frozenset({"benchmark", "fleet", "gate", "raw", "report"})


def problems(document: Document) -> list[Problem]:
    """Contradictions between keys; values of a wrong type are left to the schema."""
    found = [*_fleet(document), *_toolchain(document)]
    for name in document.get(("models",), dict) or {}:
        model = ("models", name)
        found += _name(document, name)
        found += model_checks.problems(document, model)
        task = document.get((*model, "task"), str)
        if task in tasks.names():
            schema = tasks.params_of(task)
            found += model_checks.reduced_quality(document, model, schema.quality_checks)
            found += schema.contradictions(document, model)
    return found


def _fleet(document: Document) -> Iterator[Problem]:
    tree = document.tree if isinstance(document.tree, dict) else {}
    fleet, models = tree.get("fleet"), tree.get("models")
    models = models if isinstance(models, dict) else {}
    if "fleet" in tree and fleet in (None, [], {}):
        example = next((_entry(document, name) for name in models), "NAME: TASK")
        yield document.problem(("fleet",), f"names no model: write at least one of `models`, such as `{example}`")
    elif isinstance(fleet, list):
        entries = "; ".join(f"`{_entry(document, name)}`" for name in fleet if isinstance(name, str))
        message = f"is a list, but each model stands here with its task, one a line and without a dash: {entries}"
        yield document.problem(("fleet",), message)
    elif isinstance(fleet, dict) and models:
        for name in fleet:
            yield from _member(document, name)


def _entry(document: Document, name: str) -> str:
    return f"{name}: {document.get(('models', name, 'task'), str) or 'TASK'}"


def _member(document: Document, name: str) -> Iterator[Problem]:
    path, declared = ("fleet", name), ("models", name, "task")
    if ("models", name) not in document.lines:
        yield document.problem(path, f"'{name}' is not in `models`; {hint(name, document.get(('models',), dict))}")
        return
    given, wanted = document.get(path, str), document.get(declared, str)
    if None not in (given, wanted) and given != wanted:
        message = f"says {given}, but models.{name}.task (line {document.line(declared)}) is {wanted}: write that"
        yield document.problem(path, message)


def _toolchain(document: Document) -> Iterator[Problem]:
    toolchain = document.get(("toolchain",), dict)
    groups = frozenset(get_args(get_args(Params.model_fields["toolchain"].annotation)[0]))
    if toolchain is None or not groups.issuperset(toolchain):
        return  # a misspelt group is reported as such, and not as a missing one too
    if missing := sorted(groups.difference(toolchain)):
        message = f"lacks {', '.join(missing)}; write the versions that each uses, as in the shipped file"
        yield document.problem(("toolchain",), message)


def _name(document: Document, name: str) -> Iterator[Problem]:
    path = ("models", name)
    if not _NAME.fullmatch(name):
        yield document.problem(path, "a model's name is made of a-z, 0-9 and -, and starts with no -")
    elif name in _RESERVED:
        yield document.problem(path, "is the name of a folder that artifacts/ or data/ has already: choose another")
