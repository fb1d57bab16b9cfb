import json
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.text import documents

_LONG = "Opens a file and reads all of its lines, one after the other."


def test_a_text_file_is_one_document_and_keeps_its_layout(tmp_path: Path) -> None:
    text = f"{_LONG}\n\n    indented = 1\n\n- a list\n"
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(text)
    found = documents.from_folder(tmp_path)
    assert [one.group for one in found] == ["a.txt", "b.txt", "c.txt"]
    assert found[0].text == text.strip()


def test_a_line_of_jsonl_names_its_group(tmp_path: Path) -> None:
    rows = [{"text": _LONG, "group": group} for group in ("x", "y", "z", "x")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [one.group for one in documents.from_folder(tmp_path)] == ["x", "y", "z", "x"]


def test_documents_are_their_own_groups_where_there_are_few(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"{_LONG} {i}"}) for i in range(4)))
    assert len({one.group for one in documents.from_folder(tmp_path)}) == 4


def test_broken_lines_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1}\n{"text"')
    with pytest.raises(InputError, match=r"(?s)a\.jsonl:1: .*a\.jsonl:2: "):
        documents.from_folder(tmp_path)


def test_short_texts_alone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(InputError, match="no file holds a text of 40 bytes"):
        documents.from_folder(tmp_path)


def test_a_larger_share_of_the_files_holds_the_smaller_one(tmp_path: Path) -> None:
    lock = tmp_path / "corpus.lock"
    lock.write_text(f"anyio=={version('anyio')}\n")
    half, whole = (documents.from_docstrings(lock, share, processes=1) for share in (0.5, 1.0))
    assert 0 < len(half) < len(whole)
    assert set(half) < set(whole)
    assert {one.group for one in whole} == {"anyio"}
