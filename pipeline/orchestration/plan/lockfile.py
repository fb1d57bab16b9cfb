"""The order of the entries of a dvc.lock.

DVC appends an entry when its stage ends, and in a parallel build stages end in another order than in `dvc repro`. So
that both leave the same bytes, each entry is moved to its place as soon as it is written.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# As DVC writes it: entries of `stages:` are indented by two.
_ENTRY = re.compile(r"^  (?P<quote>['\"]?)(?P<name>[^\s'\"].*?)(?P=quote):$", re.MULTILINE)
_SECTION = re.compile(r"^stages:\n(?P<entries>(?:[ \n].*\n?|\n)*)", re.MULTILINE)


def entries(text: str) -> list[str]:
    """Names of the stages in a dvc.lock, in their order."""
    section = _SECTION.search(text)
    return [match["name"] for match in _ENTRY.finditer(section["entries"])] if section else []


def in_order(present: Sequence[str], order: Sequence[str]) -> list[str]:
    """`present` sorted as in `order`; what `order` does not know stays at the end."""
    known = [name for name in order if name in set(present)]
    return known + [name for name in present if name not in set(known)]


class UnfinishedBuild:
    """The entries of a dvc.lock before a build that was broken off, so that the next build goes on in the same order.

    They count only while dvc.lock is as that build left it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def base(self, lock: Path) -> list[str]:
        """The entries of `lock` that new ones are appended to."""
        if not lock.exists():
            return []
        noted = self._read().get(str(lock))
        if noted is not None and noted["sha256"] == _digest(lock):
            return list(noted["base"])
        return entries(lock.read_text(encoding="utf-8"))

    def note(self, lock: Path, base: Sequence[str]) -> None:
        """Note that a build which began with the entries `base` has written `lock`."""
        known = {**self._read(), str(lock): {"base": list(base), "sha256": _digest(lock)}}
        temporary = self._path.with_suffix(".new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(self._path)

    def forget(self) -> None:
        """Forget the build: it has ended with everything built."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return known if isinstance(known, dict) else {}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
