"""What params.yaml must fulfil across its blocks; looked for even where single values are wrong too."""

import re
from collections.abc import Iterator
from typing import Any, get_args

from pipeline.params import Params
from pipeline.params_messages import nearest
from pipeline.yaml_lines import Document, KeyPath, Problem, dotted

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# Folders of artifacts/ and data/ that are not a model's.
_RESERVED = frozenset({"benchmark", "fleet", "gate", "raw", "report"})


def problems(document: Document) -> list[Problem]:
    """Contradictions between keys; values of a wrong type are left to the schema."""
    found = [*_fleet(document), *_toolchain(document)]
    for name in _get(document.tree, ("models",), dict) or {}:
        found += _name(document, str(name))
        found += _lengths(document, ("models", name))
        found += _case(document, ("models", name))
        found += _quality(document, ("models", name))
    return found


def _get(tree: Any, path: KeyPath, kind: type | tuple[type, ...]) -> Any:
    """The value at `path`, or None where it is missing or of another type."""
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return None
        tree = tree[part]
    return tree if isinstance(tree, kind) and not isinstance(tree, bool) else None


def _problem(document: Document, path: KeyPath, message: str) -> Problem:
    return Problem(document.line(path), dotted(path), message)


def _fleet(document: Document) -> Iterator[Problem]:
    models = _get(document.tree, ("models",), dict)
    seen: dict[str, int] = {}
    for index, name in enumerate(_get(document.tree, ("fleet",), list) or []):
        path = ("fleet", index)
        if not isinstance(name, str):
            continue
        if name in seen:
            yield _problem(document, path, f"'{name}' stands in line {seen[name]} already: keep one")
        elif models is not None and name not in models:
            guess = nearest(name, models)
            hint = f"did you mean '{guess}'?" if guess else f"there are {', '.join(models) or 'none'}"
            yield _problem(document, path, f"'{name}' is not in `models`; {hint}")
        seen.setdefault(name, document.line(path))


def _toolchain(document: Document) -> Iterator[Problem]:
    toolchain = _get(document.tree, ("toolchain",), dict)
    groups = frozenset(get_args(get_args(Params.model_fields["toolchain"].annotation)[0]))
    if toolchain is None or not groups.issuperset(toolchain):
        return  # a misspelt group is reported as such, and not as a missing one too
    if missing := sorted(groups.difference(toolchain)):
        message = f"lacks {', '.join(missing)}; write the versions that each uses, as in the shipped file"
        yield _problem(document, ("toolchain",), message)


def _name(document: Document, name: str) -> Iterator[Problem]:
    path = ("models", name)
    if not _NAME.fullmatch(name):
        yield _problem(document, path, "a model's name is made of a-z, 0-9 and -, and starts with no -")
    elif name in _RESERVED:
        yield _problem(document, path, "is the name of a folder that artifacts/ or data/ has already: choose another")


def _lengths(document: Document, model: KeyPath) -> Iterator[Problem]:
    lengths = _get(document.tree, (*model, "export", "lengths"), list) or []
    lengths = [length for length in lengths if isinstance(length, int) and not isinstance(length, bool)]
    if twice := sorted({length for length in lengths if lengths.count(length) > 1}):
        message = f"has {', '.join(map(str, twice))} more than once: keep one"
        yield _problem(document, (*model, "export", "lengths"), message)
    path = (*model, "student", "max_tokens")
    most = _get(document.tree, path, int)
    if most is None:
        return
    if lengths and most < max(lengths):
        message = f"is {most}, but export.lengths goes up to {max(lengths)}: raise it, or drop the longer lengths"
        yield _problem(document, path, message)
    distilled = _get(document.tree, (*model, "distill", "max_tokens"), int)
    if distilled is not None and distilled > most:
        message = f"is {distilled}, but the student takes {most} (student.max_tokens): lower it to that"
        yield _problem(document, (*model, "distill", "max_tokens"), message)


def _case(document: Document, model: KeyPath) -> Iterator[Problem]:
    case = (*model, "budgets", "case")
    length = _get(document.tree, (*case, "length"), int)
    lengths = _get(document.tree, (*model, "export", "lengths"), list)
    if length is not None and lengths is not None and length not in lengths:
        allowed = ", ".join(map(str, lengths)) or "none"
        yield _problem(document, (*case, "length"), f"is {length}, which is not measured: export.lengths has {allowed}")
    batch = _get(document.tree, (*case, "batch"), int)
    throughput = _get(document.tree, (*model, "export", "batch"), int)
    if batch is not None and throughput is not None and batch not in (1, throughput):
        message = f"is {batch}, which is not measured: use 1 or {throughput} (export.batch)"
        yield _problem(document, (*case, "batch"), message)


def _quality(document: Document, model: KeyPath) -> Iterator[Problem]:
    path = (*model, "budgets", "quality", "recall_at_1_kept")
    kept = _get(document.tree, path, (int, float))
    if kept is not None and _get(document.tree, (*model, "data", "retrieval_pairs"), int) == 0:
        yield _problem(document, path, f"is {kept}, but data.retrieval_pairs is 0: write `none`, or ask for pairs")
