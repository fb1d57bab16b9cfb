"""Whole documents for language models: docstrings of the locked packages, or a user's own texts, with their groups.

Unlike `pipeline.text.docstrings`, nothing is taken apart: lists, code and tables stay where they stand.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from inspect import cleandoc
from multiprocessing import get_context
from pathlib import Path

from pipeline.errors import InputError, listed
from pipeline.progress import track
from pipeline.text import docstrings, textfiles

# Shorter ones are mostly one word, or a name repeated.
_MIN_BYTES = 40
_FILES_PER_TASK = 200
_SHOWN = 20
_HASH_RANGE = 2**64


@dataclass(frozen=True)
class Whole:
    """A document as it was written.

    Attributes:
        group: what must stay on one side of a split: a package, or a file of the user's.
        text: without common indentation.
    """

    group: str
    text: str

    def cut(self, max_bytes: int) -> "Whole":
        """Its first `max_bytes` in UTF-8, without a broken character at the end."""
        return Whole(self.group, self.text.encode()[:max_bytes].decode(errors="ignore"))


def from_docstrings(lock: Path, share: float, processes: int) -> list[Whole]:
    """The docstrings of the packages pinned in `lock`, in the order of package and path.

    Args:
        share: of the files that are read, above 0 and at most 1. A hash of a file's name decides, so that a larger
            share holds all files of a smaller one, on every machine.

    Raises:
        InputError: a pinned package is not installed at its version.
    """
    files = [
        (name, path)
        for name, version in docstrings.pinned(lock)
        for path in docstrings.python_files(name, version, lock)
        if _fraction(f"{name}:{'/'.join(path.parts[-3:])}") < share
    ]
    tasks = [files[start : start + _FILES_PER_TASK] for start in range(0, len(files), _FILES_PER_TASK)]
    found: list[Whole] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in track(pool.map(_read_files, tasks), total=len(tasks), label="reading docstrings", unit="parts"):
            found += part
    return found


def from_folder(folder: Path) -> list[Whole]:
    """A user's own texts: each `data/raw/*.txt` is one document, each line of a `*.jsonl` another.

    A line is an object with `text`, and optionally `group`. Without it the file is the group; where there are fewer
    than three groups, each document is its own.

    Raises:
        InputError: there are no files or no text in them, or lines are broken or not UTF-8; all such lines are named.
    """
    problems: list[str] = []
    found: list[Whole] = []
    for path in textfiles.paths(folder):
        text = textfiles.decode(path, problems)
        found += _lines(path, text, problems) if path.suffix == ".jsonl" else _whole(path.name, text)
    if problems:
        raise InputError("unreadable text:\n  " + "\n  ".join(listed(problems, _SHOWN)))
    if not found:
        raise InputError(f"{folder}: no file holds a text of {_MIN_BYTES} bytes or more")
    if len({document.group for document in found}) < textfiles.MIN_FILES_TO_GROUP_BY:
        return [Whole(f"{document.group}:{i}", document.text) for i, document in enumerate(found)]
    return found


def _lines(path: Path, text: str, problems: list[str]) -> Iterable[Whole]:
    # Not splitlines: JSON allows U+2028 and its kin within a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise ValueError('a JSON object with a string "text" is needed on each line')
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        yield from _whole(str(row.get("group", path.name)), row["text"])


def _whole(group: str, text: str) -> list[Whole]:
    """The document of a text; none where it is too short, or cannot be written as UTF-8."""
    text = cleandoc(text).strip()
    size = len(text.encode("utf-8", "ignore"))
    valid = size == len(text.encode("utf-8", "surrogatepass"))
    return [Whole(group, text)] if valid and size >= _MIN_BYTES else []


def _read_files(files: Sequence[tuple[str, Path]]) -> list[Whole]:
    return [one for package, path in files for text in docstrings.of_file(path) for one in _whole(package, text)]


def _fraction(name: str) -> float:
    """A number from 0 to 1 that depends on `name` alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / _HASH_RANGE
