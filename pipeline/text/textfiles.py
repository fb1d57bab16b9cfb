"""A user's own texts: `data/raw/*.txt` and `*.jsonl`.

A paragraph of a .txt file is one document. A line of a .jsonl file is an object with `text`, or with `summary` and
`body` (a retrieval pair), and optionally `group`: what must stay on one side of the split. Without it the file is the
group; where there are fewer than three files, each document is its own.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError, listed
from pipeline.text.texts import Document, Passage, clean, read_docstring

_SHOWN = 20
MIN_FILES_TO_GROUP_BY = 3


def read_documents(folder: Path) -> list[Document]:
    """Read every .txt and .jsonl file of `folder`, in the order of their names.

    Raises:
        InputError: there are no files or no prose in them, or lines are broken or not UTF-8; all such lines are named.
    """
    found = paths(folder)
    problems: list[str] = []
    documents: list[Document] = []
    for path in found:
        reader = _read_lines if path.suffix == ".jsonl" else _read_paragraphs
        documents += reader(path, decode(path, problems), problems)
    if problems:
        shown = listed(problems, _SHOWN)
        raise InputError("unreadable text:\n  " + "\n  ".join(shown))
    if not documents:
        raise InputError(
            f"{folder}: no prose in {', '.join(path.name for path in found)} (sentences of 4 to 60 words are used)"
        )
    if len(found) < MIN_FILES_TO_GROUP_BY and len({d.group for d in documents}) < MIN_FILES_TO_GROUP_BY:
        return [replace(document, group=f"{document.group}:{i}") for i, document in enumerate(documents)]
    return documents


def paths(folder: Path) -> list[Path]:
    """The .txt and .jsonl files of `folder`, sorted.

    Raises:
        InputError: there is none.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix in {".txt", ".jsonl"})
    if not found:
        raise InputError(f"{folder} holds no .txt or .jsonl file: put your texts there, or set data.source: docstrings")
    return found


def decode(path: Path, problems: list[str]) -> str:
    """The text of a file; of one that is binary or not UTF-8 an empty one, and `problems` gets its line."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.append(f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8: convert it (iconv -t UTF-8)")
        return ""
    # UTF-16 without its mark is valid UTF-8 full of NULs.
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        problems.append(f"{path}:{line}: holds NUL, so it is binary or UTF-16: convert it (iconv -t UTF-8)")
        return ""
    return text


def _read_paragraphs(path: Path, text: str, problems: list[str]) -> Iterator[Document]:
    for paragraph in re.split(r"\n\s*\n", text):
        document = read_docstring(path.name, paragraph) if paragraph.strip() else None
        if document:
            yield document


def _read_lines(path: Path, text: str, problems: list[str]) -> Iterator[Document]:
    # Not splitlines: JSON allows U+2028 and its kin within a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            document = _document(json.loads(line), path.name)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if document:
            yield document


def _document(value: object, file_name: str) -> Document | None:
    if not isinstance(value, dict):
        raise ValueError("a JSON object is needed on each line")
    group = str(value.get("group", file_name))
    if isinstance(value.get("summary"), str) and isinstance(value.get("body"), str):
        passage = Passage(clean(value["summary"]), clean(value["body"]))
        body = read_docstring(group, passage.body)
        return Document(group, (passage.summary, *(body.sentences if body else ())), passage)
    if not isinstance(value.get("text"), str):
        raise ValueError('"text", or "summary" and "body", must be there as strings')
    return read_docstring(group, value["text"])
