"""Values of one of several kinds: the value itself tells which, and only the mistakes of that kind are reported.

A tag stands in angle brackets. No key of params.yaml does, so the tags in pydantic's paths are never taken for keys.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Discriminator, Tag

# The types of the errors where a value is of no kind; `pipeline.params.messages` has a sentence for each.
BLOCK_OR_NONE = "block_or_none"
SOURCE = "source"
TASK = "task"

BLOCK, NONE = Tag("<block>"), Tag("<none>")
VALUE, NAMED = Tag("<value>"), Tag("<named>")


def tag(key: str) -> Tag:
    """The tag of a block that is told from its siblings by having `key`."""
    return Tag(f"<{key}>")


def keys(annotation: Any) -> list[str]:
    """The keys that tell the kinds of a union of blocks apart."""
    return [name.strip("<>") for name in kinds(annotation)]


def kinds(annotation: Any) -> dict[str, Any]:
    """The members of a union, by their tags; none where its members have no tags."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members = [get_args(member) for member in get_args(annotation) if get_origin(member) is Annotated]
    return {part.tag: kind for kind, *metadata in members for part in metadata if isinstance(part, Tag)}


def chosen(annotation: Any, value: Any) -> Any:
    """The member of a union that `value` chooses; `None` if the annotation has no kinds, or the value is of none."""
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    choose = next((part.discriminator for part in metadata if isinstance(part, Discriminator)), None)
    name = choose(value) if callable(choose) else None
    return kinds(annotation).get(name) if isinstance(name, str) else None


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping | BaseModel)


def _block_or_none(value: Any) -> str | None:
    return BLOCK.tag if _is_block(value) else NONE.tag if value == "none" else None


def _value_or_named(value: Any) -> str:
    return NAMED.tag if isinstance(value, Mapping) else VALUE.tag


def _source(value: Any) -> str | None:
    """The tag of the one key that an entry may start with; an object has been validated and has all its fields."""
    names = type(value).model_fields if isinstance(value, BaseModel) else value if isinstance(value, Mapping) else ()
    known = [name for name in names if name in SOURCE_KEYS]
    return tag(known[0]).tag if len(known) == 1 else None


def _task(value: Any) -> str | None:
    task = value.get("task") if isinstance(value, Mapping) else getattr(value, "task", None)
    return task if isinstance(task, str) else None


def _discriminator(choose: Callable[[Any], str | None], kind: str, expected: str) -> Discriminator:
    return Discriminator(choose, custom_error_type=kind, custom_error_message=f"expected {expected}")


# The keys that decide where a teacher's weights lie; each task takes some of them.
SOURCE_KEYS = ("package", "path", "hf", "gguf", "saved_model", "onnx")
BY_BLOCK_OR_NONE = _discriminator(_block_or_none, BLOCK_OR_NONE, "a block or none")
BY_VALUE_OR_NAMES = Discriminator(_value_or_named)
BY_SOURCE = _discriminator(_source, SOURCE, "one of the keys that decide where the weights lie")
BY_TASK = _discriminator(_task, TASK, "a model with a task")
