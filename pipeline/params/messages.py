"""Turn what pydantic found in params.yaml into sentences: what stands there, what may, what to write."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from pipeline.params import choices, tasks
from pipeline.params.declared import declared_at, keys_at, literals, value_at
from pipeline.params.values import ContradictionError
from pipeline.params.words import hint, nearest, show
from pipeline.params.yaml_lines import Document, KeyPath, Problem, dotted


def problems(errors: Iterable[ErrorDetails], document: Document, known: Iterable[Problem] = ()) -> list[Problem]:
    """One problem a key, in no particular order; the several errors of a union become one.

    Args:
        known: what `pipeline.params.checks` found. Its sentences say more, so its keys are not reported again.
    """
    missing: dict[KeyPath, Problem] = {}
    unknown: list[KeyPath] = []
    wrong: dict[KeyPath, list[ErrorDetails]] = {}
    known_paths = {problem.path for problem in known}
    for error in errors:
        path = locate(error, document.tree)
        if _is_known(error, path, known_paths):
            continue
        if error["type"] == "too_short" and value_at(path, document.tree):
            continue  # pydantic counts the valid entries only, and the invalid ones are reported themselves
        if path not in document.lines:
            missing[path] = Problem(document.line(path[:-1]), dotted(path), _missing(path, document))
        elif error["type"] == "extra_forbidden" or "[key]" in error["loc"]:
            unknown.append(path)
        else:
            wrong.setdefault(path, []).append(error)
    found = [_unknown(path, document, missing) for path in unknown]
    found += [document.problem(path, _wrong(path, group, document)) for path, group in wrong.items()]
    return found + list(missing.values())


def locate(error: ErrorDetails, tree: Any) -> KeyPath:
    """Path in the file of a pydantic error, whose own path also names members of unions."""
    path: list[str | int] = []
    node = tree
    for part in error["loc"]:
        inside = part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        if inside:
            path.append(part)
            node = node[part]
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    if error["type"] == choices.TASK and isinstance(node, dict):
        path.append("task")
    return tuple(path)


def _is_known(error: ErrorDetails, path: KeyPath, known: set[str]) -> bool:
    """Whether a check has reported this: the same key or, where blocks contradict each other, some key below."""
    key = dotted(path)
    contradicts = isinstance(error.get("ctx", {}).get("error"), ContradictionError)
    return key in known or (contradicts and any(other.startswith(f"{key}.") for other in known))


def _unknown(path: KeyPath, document: Document, missing: dict[KeyPath, Problem]) -> Problem:
    parent, name = path[:-1], str(path[-1])
    allowed = keys_at(parent, document.tree)
    absent = [str(other[-1]) for other in missing if other[:-1] == parent]
    guess = nearest(name, absent) or nearest(name, allowed)
    if guess is not None:
        # The misspelt key and the one that it was meant to be are one problem, not two.
        missing.pop((*parent, guess), None)
        message = f"unknown key, did you mean '{guess}'?"
    else:
        message = f"unknown key; allowed are {', '.join(allowed)}"
    return document.problem(path, message)


def _missing(path: KeyPath, document: Document) -> str:
    annotation, name = declared_at(path, document.tree), path[-1]
    where = f" from the block in line {document.line(path[:-1])}" if path[:-1] else ""
    if choices.BLOCK.tag in choices.kinds(annotation):
        return f"missing{where}; write the block, or `{name}: none` to leave the step out"
    if "none" in literals(annotation):
        purpose = " if there is to be no budget" if "budgets" in path else ""
        return f"missing{where}; write a number, or `{name}: none`{purpose}"
    return f"missing{where}; docs/params.md explains it"


def _wrong(path: KeyPath, errors: Sequence[ErrorDetails], document: Document) -> str:
    value = value_at(path, document.tree)
    match errors[0]["type"]:
        case "value_error":
            return str(errors[0]["ctx"]["error"])
        case choices.SOURCE:
            return _source(value, choices.keys(declared_at(path, document.tree)))
        case choices.BLOCK_OR_NONE:
            return f"{_is(value)}; write a block of keys, or `{path[-1]}: none`"
        case choices.TASK if isinstance(value, str):
            return f"{_is(value)}, which is no task; {hint(value, tasks.names())}"
    expected = " or ".join(dict.fromkeys(_expected(error) for error in errors))
    quote = any(error["type"] == "string_type" for error in errors) and isinstance(value, int | float)
    correction = f"; write it in quotes: '{value}'" if quote and not isinstance(value, bool) else ""
    return f"{_is(value)}; expected {expected}{correction}"


def _is(value: Any) -> str:
    return "is empty" if value is None else f"is {show(value)}"


def _source(item: Any, kinds: Sequence[str]) -> str:
    """What is wrong with an entry of a teacher's sources that is of none of the `kinds` that its task takes."""
    if not isinstance(item, dict):
        return f"{_is(item)}; expected one of the keys {', '.join(kinds)}, as in `- {kinds[0]}: NAME`"
    if len(given := [key for key in choices.SOURCE_KEYS if key in item]) > 1:
        return f"has {' and '.join(given)}; one of them decides where the weights lie: make two entries"
    guess = next((f"; did you mean '{near}' for '{key}'?" for key in item if (near := nearest(key, kinds))), "")
    return f"has none of the keys that decide where the weights lie: {', '.join(kinds)}{guess}"


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "greater_than":
            return f"a number > {context['gt']:g}"
        case "greater_than_equal":
            return f"a number >= {context['ge']:g}"
        case "less_than":
            return f"a number < {context['lt']:g}"
        case "less_than_equal":
            return f"a number <= {context['le']:g}"
        case "float_type" | "float_parsing":
            return "a number"
        case "finite_number":
            return "a finite number"
        case "int_type" | "int_parsing" | "int_from_float":
            return "a whole number"
        case "string_type":
            return "a text"
        case "string_pattern_mismatch":
            return f"a text of the form {context['pattern']}"
        case "literal_error" | "enum":
            return str(context["expected"])
        case "tuple_type" | "list_type":
            return "a list"
        case "too_short":
            return f"at least {context['min_length']} entry"
        case choices.TASK:
            return "a text" if isinstance(error["input"], dict) else "a block of keys"
        case "model_type" | "model_attributes_type" | "mapping_type" | "dict_type":
            return "a block of keys"
    return error["msg"]
