"""What params.yaml must fulfil across its blocks; looked for even where single values are wrong too."""

import re
from collections.abc import Iterator
from typing import get_args

from pipeline.params import tasks
from pipeline.params.messages import nearest
from pipeline.params.schema import Params
from pipeline.params.yaml_lines import Document, KeyPath, Problem

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# Folders of artifacts/ and data/ that are not a model's.
_RESERVED = frozenset({"benchmark", "fleet", "gate", "raw", "report"})


def problems(document: Document) -> list[Problem]:
    """Contradictions between keys; values of a wrong type are left to the schema."""
    found = [*_fleet(document), *_toolchain(document)]
    for name in document.get(("models",), dict) or {}:
        found += _name(document, str(name))
        found += _batch(document, ("models", name))
        task = document.get(("models", name, "task"), str)
        if task in tasks.names():
            found += tasks.params_of(task).contradictions(document, ("models", name))
    return found


def _fleet(document: Document) -> Iterator[Problem]:
    models = document.get(("models",), dict)
    seen: dict[str, int] = {}
    for index, name in enumerate(document.get(("fleet",), list) or []):
        path = ("fleet", index)
        if not isinstance(name, str):
            continue
        if name in seen:
            yield document.problem(path, f"'{name}' stands in line {seen[name]} already: keep one")
        elif models is not None and name not in models:
            guess = nearest(name, models)
            hint = f"did you mean '{guess}'?" if guess else f"there are {', '.join(models) or 'none'}"
            yield document.problem(path, f"'{name}' is not in `models`; {hint}")
        seen.setdefault(name, document.line(path))


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


def _batch(document: Document, model: KeyPath) -> Iterator[Problem]:
    path = (*model, "budgets", "case", "batch")
    batch, throughput = document.get(path, int), document.get((*model, "export", "batch"), int)
    if batch is not None and throughput is not None and batch not in (1, throughput):
        message = f"is {batch}, which is not measured: use 1 or {throughput} (export.batch)"
        yield document.problem(path, message)
