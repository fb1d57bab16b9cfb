"""Read a YAML file together with the line of every key and list item.

The reader is ruamel.yaml because DVC reads the same file with it: both must see the same values
(YAML 1.2: `1e-3` is a number, `yes` is a text).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from pipeline.errors import InputError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file; `path` is empty where no key can be named."""

    line: int
    path: str
    message: str

    def format(self, file: Path) -> str:
        """One line: `params.yaml:41: models.docs-embed.seed: what is wrong`."""
        return f"{file}:{self.line}: {self.path + ': ' if self.path else ''}{self.message}"


@dataclass(frozen=True)
class Document:
    """Values of a YAML file, the line (from 1) of every path in it, and its duplicate keys."""

    tree: Any
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...]

    def line(self, path: KeyPath) -> int:
        """Line of `path`, or of the nearest block around it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def get(self, path: KeyPath, kind: type | tuple[type, ...]) -> Any:
        """The value at `path`, or None where it is missing or of another type; a truth value is no number."""
        node = self.tree
        for part in path:
            if not isinstance(node, dict) or part not in node:
                return None
            node = node[part]
        return node if isinstance(node, kind) and not isinstance(node, bool) else None

    def mention(self, path: KeyPath) -> str:
        """The line of `path` in brackets, behind what is said of it."""
        return f" (line {self.line(path)})"

    def problem(self, path: KeyPath, message: str) -> Problem:
        """A problem at `path`, with its line."""
        return Problem(self.line(path), dotted(path), message)


def dotted(path: KeyPath) -> str:
    """Write a path as it is named to people: `models.docs-embed.teacher.sources.0.package`."""
    return ".".join(str(part) for part in path)


def read(path: Path) -> Document:
    """Read the first and only YAML document of `path`.

    Raises:
        InputError: the file is missing, is not UTF-8, is empty or is not YAML.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(_text(path))
        builder = _Builder(yaml.constructor)
        tree = builder.build(root, ()) if root is not None else None
    except YAMLError as error:
        raise _syntax_error(path, error) from error
    if tree is None:
        raise InputError(f"{path}: the file is empty; `git checkout {path}` brings the shipped one back")
    return Document(tree, builder.lines, tuple(builder.problems))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run this in the folder of dvc.yaml, or name the file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8: save the file in UTF-8"
        ) from error


def _syntax_error(path: Path, error: YAMLError) -> InputError:
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    what = (error.problem if isinstance(error, MarkedYAMLError) else None) or str(error).splitlines()[0]
    hint = "; YAML is indented with spaces" if "'\\t'" in what else ""
    if isinstance(error, MarkedYAMLError) and error.context:
        what = f"{what} {error.context}"
    return InputError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {what}{hint}")


class _Builder:
    """Turns nodes into plain values and writes down where each one stands."""

    def __init__(self, constructor: Any) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._constructor = constructor
        self._open: set[int] = set()

    def build(self, node: Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(node))
        if isinstance(node, ScalarNode):
            return self._constructor.construct_object(node)
        if id(node) in self._open:
            self.problems.append(Problem(_line(node), dotted(path), "an alias that contains itself"))
            return None
        self._open.add(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        finally:
            self._open.discard(id(node))

    def _sequence(self, node: Node, path: KeyPath) -> list[Any]:
        return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        self._find_duplicates(node, path)
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            self._constructor.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value)
            self.lines[(*path, name)] = _line(key)
            result[name] = self.build(value, (*path, name))
        return result

    def _find_duplicates(self, node: MappingNode, path: KeyPath) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), _line(key)
            if name in first:
                message = f"written twice, in line {first[name]} and in line {line}: keep one"
                self.problems.append(Problem(line, dotted((*path, name)), message))
            first.setdefault(name, line)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
