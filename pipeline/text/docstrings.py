"""Docstrings of the packages that data/corpus.lock pins: real technical English, the same on every machine.

Only files that a distribution lists as its own are read, in a fixed order, so that one lock gives one corpus.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

from pipeline.errors import InputError
from pipeline.progress import track
from pipeline.text.texts import Document, read_docstring

LOCK = "corpus.lock"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_FILES_PER_TASK = 200
_BLOCKS = ("body", "orelse", "handlers", "finalbody")
_TESTS = {"test", "tests", "testing", "_testing"}


def read_documents(lock: Path, processes: int) -> list[Document]:
    """Read every docstring of the packages pinned in `lock`, in the order of package and path.

    Raises:
        InputError: a pinned package is not installed at its version.
    """
    files = [(name, path) for name, version in pinned(lock) for path in python_files(name, version, lock)]
    tasks = [files[start : start + _FILES_PER_TASK] for start in range(0, len(files), _FILES_PER_TASK)]
    documents: list[Document] = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in track(pool.map(_read_files, tasks), total=len(tasks), label="reading docstrings", unit="parts"):
            documents.extend(part)
    return documents


def pinned(lock: Path) -> list[tuple[str, str]]:
    """Name and version of each `name==version` line of a requirements file, sorted."""
    matches = (_PIN.match(line) for line in lock.read_text(encoding="utf-8").splitlines())
    return sorted((match[1].lower(), match[2]) for match in matches if match)


def python_files(name: str, version: str, lock: Path) -> list[Path]:
    """The Python files that the installed distribution `name` lists, sorted."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise InputError(f"{lock} pins {name}=={version}, which is not installed: run `make setup`") from error
    if distribution.version.partition("+")[0] != version.partition("+")[0]:
        raise InputError(f"{lock} pins {name}=={version}, but {distribution.version} is installed: run `make setup`")
    # Test suites are half of the files and hold next to no prose.
    listed = (
        file for file in distribution.files or () if file.suffix == ".py" and not _TESTS.intersection(file.parts[:-1])
    )
    return sorted(Path(str(file.locate())) for file in listed)


def docstrings(source: str) -> Iterator[str]:
    """Yield the docstrings of a module's source: its own, its classes' and its functions'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's files
        tree = ast.parse(source)
    # Only statements are walked: expressions hold no docstring and are most of the tree.
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield text
        for block in _BLOCKS:
            pending += getattr(node, block, ())


def of_file(path: Path) -> list[str]:
    """The docstrings of a Python file; none of one that cannot be read, such as a template."""
    try:
        source = path.read_text(encoding="utf-8")
        if '"""' not in source and "'''" not in source:
            return []
        return list(docstrings(source))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []  # templates and test files that are broken on purpose


def _read_files(files: list[tuple[str, Path]]) -> list[Document]:
    texts = ((package, text) for package, path in files for text in of_file(path))
    return [document for package, text in texts if (document := read_docstring(package, text))]
