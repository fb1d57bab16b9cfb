"""A params.yaml of one's own."""

from pathlib import Path

import pytest

from tests.params.edits import Edit, replaced


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """Write a copy of the shipped file with some of its text replaced."""

    def edit(*changes: tuple[str, str]) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(replaced(changes), encoding="utf-8")
        return path

    return edit
