"""Why a stage runs, in the words of who changed it."""

from collections.abc import Iterator, Mapping
from typing import Any

NEVER_BUILT = "never built"
ALWAYS = "always runs"
FORCED = "--force"
_MISSING = object()
_LONGEST = 60


def changed_values(path: str, key: str, old: object, new: object) -> list[str]:
    """Say what differs between two values of a parameter, one line a leaf: `params.yaml: distill.epochs 4 → 6`.

    Args:
        path: file of the parameters.
        key: dotted name of what is compared.
        old: what dvc.lock recorded.
        new: what the file says now.
    """
    return [f"{path}: {name} {_show(before)} → {_show(after)}" for name, before, after in _leaves(key, old, new)]


def _leaves(key: str, old: object, new: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _leaves(f"{key}.{name}", old.get(name, _MISSING), new.get(name, _MISSING))
    elif old is _MISSING or new is _MISSING or old != new:
        yield key, old, new


def _show(value: object) -> str:
    text = "(nothing)" if value is _MISSING else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def changed_params(path: str, status: object, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say what DVC's status of a parameter file means.

    Args:
        path: the file.
        status: DVC's word for the whole file (`deleted`, `new`), or a mapping of keys to such words.
        old: recorded values by key.
        new: values in the file by key.
    """
    if not isinstance(status, Mapping):
        return [f"{path} is {_WORDS.get(str(status), str(status))}"]
    found: list[str] = []
    for key in status:
        found += changed_values(path, key, old.get(key, _MISSING), new.get(key, _MISSING))
    return found


_WORDS = {"deleted": "missing", "modified": "changed", "new": "new", "not in cache": "not in the cache"}


def changed_path(path: str, status: str) -> str:
    """Say what DVC's status of a file or folder means, such as `data/raw changed` or `data/raw is missing`."""
    word = _WORDS.get(status, status)
    return f"{path} changed" if word == "changed" else f"{path} is {word}"


def changed_command(old: str, new: str) -> str:
    """Say that the command of a stage has changed, with both commands."""
    return f"command: {_show(old)} → {_show(new)}"
