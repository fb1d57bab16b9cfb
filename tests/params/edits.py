"""Broken copies of the shipped params.yaml, and what is said of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ExitCode, InputError
from pipeline.params.file import load_params

SHIPPED = Path(__file__).parents[2] / "params.yaml"
MODEL = "models.docs-embed"

# Writes a copy of the shipped file with some of its text replaced, each change where the text stands first.
Edit = Callable[..., Path]


def replaced(changes: tuple[tuple[str, str], ...]) -> str:
    """The shipped file's text with each old text replaced by the new, where it stands first."""
    text = SHIPPED.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"the shipped params.yaml has no {old!r}: adapt the test"
        text = text.replace(old, new, 1)
    return text


def problems_of(path: Path) -> list[str]:
    """The lines of the error, without the heading and the folder."""
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    lines = str(caught.value).replace(f"{path.parent}/", "").splitlines()
    return lines[1:] if " problems in " in lines[0] else lines


def line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def shipped_line(key: str) -> str:
    """The first line of the shipped file that sets `key`, whatever the value: values are tuned."""
    text = SHIPPED.read_text(encoding="utf-8")
    return next(line for line in text.splitlines(keepends=True) if line.lstrip().startswith(f"{key}:"))


def the_problem(path: Path, at: str, key: str) -> str:
    """The only problem, which must stand in the line that contains `at` and name `key`."""
    problems = problems_of(path)
    assert len(problems) == 1, problems
    head = f"params.yaml:{line_of(path, at)}: {key}: "
    assert problems[0].startswith(head), problems[0]
    return problems[0].removeprefix(head)
