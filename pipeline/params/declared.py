"""What the schema declares for a place in params.yaml: the type of a value, and the keys of a block."""

import types
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.params import choices, tasks
from pipeline.params.blocks import ModelParams
from pipeline.params.schema import Params
from pipeline.params.yaml_lines import KeyPath


def type_at(path: KeyPath, tree: Any) -> Any:
    """The type of the value at `path`: of several kinds the one that the value in `tree` chooses."""
    if not path:
        return Params
    return _chosen(declared_at(path, tree), value_at(path, tree))


def declared_at(path: KeyPath, tree: Any) -> Any:
    """The type that is declared for `path`, with all its kinds; `path` is not empty."""
    parent, part = type_at(path[:-1], tree), path[-1]
    if _is_block(parent):
        return parent.model_fields[str(part)].rebuild_annotation()
    arguments = get_args(parent)
    return arguments[1] if get_origin(parent) is Mapping else arguments[0]


def keys_at(path: KeyPath, tree: Any) -> list[str]:
    """The keys that the block at `path` may have."""
    annotation = type_at(path, tree)
    if _is_block(annotation):
        return list(annotation.model_fields)
    keys = get_args(annotation)[0]
    if isinstance(keys, type) and issubclass(keys, Enum):
        return [str(member.value) for member in keys]
    return [str(key) for key in literals(keys)]


def literals(annotation: Any) -> list[Any]:
    """The fixed values that a type allows, `none` among them where it may be written."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in literals(part)]


def value_at(path: KeyPath, tree: Any) -> Any:
    """The value at `path`, which is in the file."""
    for part in path:
        tree = tree[part]
    return tree


def _chosen(annotation: Any, value: Any) -> Any:
    if kind := choices.chosen(annotation, value):
        return _chosen(kind, value)
    if get_origin(annotation) is Annotated:
        return _chosen(get_args(annotation)[0], value)
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return _chosen(kinds[0], value) if len(kinds) == 1 else annotation
    if annotation is ModelParams and isinstance(value, dict) and value.get("task") in tasks.names():
        return tasks.params_of(value["task"])
    return annotation


def _is_block(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
