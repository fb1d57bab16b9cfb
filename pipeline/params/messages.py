"""Turn what pydantic found in params.yaml into sentences: what stands there, what may, what to write."""

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipeline.params import tasks
from pipeline.params.blocks import ModelParams, Source
from pipeline.params.schema import Params
from pipeline.params.yaml_lines import Document, KeyPath, Problem, dotted

_NEAR = 0.6
# The key that decides which kind of source an entry of teacher.sources is.
_SOURCES: dict[str, type[BaseModel]] = {next(iter(kind.model_fields)): kind for kind in get_args(Source)}
_SOURCE_NAMES = {kind.__name__: key for key, kind in _SOURCES.items()}


def problems(errors: Iterable[ErrorDetails], document: Document) -> list[Problem]:
    """One problem a key, in no particular order; the several errors of a union become one."""
    missing: dict[KeyPath, Problem] = {}
    unknown: list[KeyPath] = []
    wrong: dict[KeyPath, list[ErrorDetails]] = {}
    found: list[Problem] = []
    for error in errors:
        if source := _source_problem(error, document):
            found += [] if source is _OTHER_SOURCE else [source]
            continue
        path = locate(error, document.tree)
        if error["type"] == "too_short" and _at(path, document.tree):
            continue  # pydantic counts the valid entries only, and the invalid ones are reported themselves
        if error["type"] == "missing":
            missing[path] = Problem(document.line(path[:-1]), dotted(path), _missing(path, document))
        elif error["type"] == "extra_forbidden" or "[key]" in error["loc"]:
            unknown.append(path)
        else:
            wrong.setdefault(path, []).append(error)
    found += [_unknown(path, document, missing) for path in unknown]
    found += [Problem(document.line(path), dotted(path), _wrong(path, group, document))
              for path, group in wrong.items()]  # fmt: skip
    return found + list(missing.values())


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, whole or by one of its parts between underscores; None if none is near."""

    def likeness(choice: str) -> float:
        parts = (choice, *choice.split("_")) if len(word) > 2 else (choice,)
        return max(SequenceMatcher(None, word, part).ratio() for part in parts)

    best = max(choices, key=likeness, default=None)
    return best if best is not None and likeness(best) >= _NEAR else None


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
    return tuple(path)


def _unknown(path: KeyPath, document: Document, missing: dict[KeyPath, Problem]) -> Problem:
    parent, name = path[:-1], str(path[-1])
    allowed = _keys(annotation_at(parent, document.tree))
    absent = [str(other[-1]) for other in missing if other[:-1] == parent]
    guess = nearest(name, absent) or nearest(name, allowed)
    if guess is not None:
        # The misspelt key and the one that it was meant to be are one problem, not two.
        missing.pop((*parent, guess), None)
        message = f"unknown key, did you mean '{guess}'?"
    else:
        message = f"unknown key; allowed are {', '.join(allowed)}"
    return Problem(document.line(path), dotted(path), message)


def _missing(path: KeyPath, document: Document) -> str:
    block = annotation_at(path[:-1], document.tree)
    where = f" from the block in line {document.line(path[:-1])}" if path[:-1] else ""
    if "none" in _literals(block.model_fields[str(path[-1])].annotation):
        return f"missing{where}; write a number, or `{path[-1]}: none` if there is to be no budget"
    return f"missing{where}; docs/params.md explains it"


def _wrong(path: KeyPath, errors: Sequence[ErrorDetails], document: Document) -> str:
    value = _at(path, document.tree)
    if errors[0]["type"] == "value_error":
        return str(errors[0]["ctx"]["error"])
    expected = list(dict.fromkeys(_expected(error) for error in errors))
    if value is None:
        return f"is empty; expected {' or '.join(expected)}"
    quote = any(error["type"] == "string_type" for error in errors) and isinstance(value, int | float)
    hint = f"; write it in quotes: '{value}'" if quote and not isinstance(value, bool) else ""
    return f"is {show(value)}; expected {' or '.join(expected)}{hint}"


def show(value: Any) -> str:
    """A value of the file in a few words, as YAML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a block of keys"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    text = repr(value) if isinstance(value, str) else str(value)
    kind = "the text " if isinstance(value, str) else ""
    return kind + (text if len(text) <= 60 else text[:57] + "...")


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
        case "model_type" | "model_attributes_type" | "mapping_type" | "dict_type":
            return "a block of keys"
    return error["msg"]


_OTHER_SOURCE = Problem(0, "", "about a kind of source that this entry is not")


def _source_problem(error: ErrorDetails, document: Document) -> Problem | None:
    """None: the error is to be reported as it is; `_OTHER_SOURCE`: it is to be dropped."""
    index = next((i for i, part in enumerate(error["loc"]) if part in _SOURCE_NAMES), None)
    if index is None:
        return None
    path: KeyPath = error["loc"][:index]
    item = _at(path, document.tree)
    kinds = _sources_at(path, document.tree)
    choices = ", ".join(kinds)
    if not isinstance(item, dict):
        message = f"is {show(item)}; expected one of the keys {choices}, as in `- {next(iter(kinds))}: NAME`"
        return Problem(document.line(path), dotted(path), message)
    keys = [key for key in kinds if key in item]
    if len(keys) == 1:
        return None if _SOURCE_NAMES[str(error["loc"][index])] == keys[0] else _OTHER_SOURCE
    if keys:
        message = f"has {' and '.join(keys)}; one of them decides where the weights lie: make two entries"
        return Problem(document.line(path), dotted(path), message)
    guess = next((f"; did you mean '{near}' for '{key}'?" for key in item if (near := nearest(key, kinds))), "")
    message = f"has none of the keys that decide where the weights lie: {choices}{guess}"
    return Problem(document.line(path), dotted(path), message)


def annotation_at(path: KeyPath, tree: Any) -> Any:
    """The type that params.py declares for `path`.

    Of a union of sources it is the one that the entry's keys choose, of a model the one of its task.
    """
    annotation: Any = Params
    node = tree
    for part in path:
        node = node[part]
        annotation = _chosen(_child(annotation, part), node)
    return annotation


def _child(annotation: Any, part: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields[str(part)].annotation
    arguments = get_args(annotation)
    return arguments[1] if get_origin(annotation) is Mapping else arguments[0]


def _chosen(annotation: Any, node: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        if len(kinds) == 1:
            return _chosen(kinds[0], node)
        if isinstance(node, dict):
            return next((kind for key, kind in _SOURCES.items() if key in node), annotation)
    if annotation is ModelParams and isinstance(node, dict) and node.get("task") in tasks.names():
        return tasks.params_of(node["task"])
    return annotation


def _sources_at(path: KeyPath, tree: Any) -> list[str]:
    """The keys of the sources that an entry of `sources` may have."""
    union = _child(annotation_at(path[:-1], tree), path[-1])
    return [key for key, kind in _SOURCES.items() if kind in get_args(union)]


def _keys(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    keys = get_args(annotation)[0]
    if isinstance(keys, type) and issubclass(keys, Enum):
        return [str(member.value) for member in keys]
    return [str(key) for key in _literals(keys)]


def _literals(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _literals(part)]


def _at(path: KeyPath, tree: Any) -> Any:
    for part in path:
        tree = tree[part]
    return tree
