import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ExitCode, InputError
from pipeline.text import documents
from pipeline.text.textfiles import read_documents

_BODY = "It opens the file, walks over every line, drops those that hold a comment, and gives the rest to the caller."


def test_a_paragraph_is_a_document_and_a_file_a_group_where_there_are_three(tmp_path: Path) -> None:
    for name in "abc":
        text = f"File {name} has this sentence in it.\n\nAnd {name} has one more sentence."
        (tmp_path / f"{name}.txt").write_text(text)
    documents = read_documents(tmp_path)
    assert [d.group for d in documents] == ["a.txt", "a.txt", "b.txt", "b.txt", "c.txt", "c.txt"]
    assert documents[1].sentences == ("And a has one more sentence.",)


def test_each_document_of_few_files_is_its_own_group(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("This is the first one.\n\nThis is the second one.")
    assert len({d.group for d in read_documents(tmp_path)}) == 2


def test_jsonl_gives_texts_pairs_and_groups(tmp_path: Path) -> None:
    rows = [
        {"text": "This is a plain text.", "group": "g1"},
        {"summary": "Read the lines of a file.", "body": _BODY, "group": "g2"},
        {"text": "This one stands in group three.", "group": "g3"},
    ]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    documents = read_documents(tmp_path)
    assert [d.group for d in documents] == ["g1", "g2", "g3"]
    passage = documents[1].passage
    assert passage is not None
    assert (passage.summary, passage.body) == ("Read the lines of a file.", _BODY)


def test_all_broken_lines_and_encodings_are_named_together(tmp_path: Path) -> None:
    good = '{"text": "This is a plain text."}'
    (tmp_path / "a.jsonl").write_text(f'{good}\n{{"text": \n[1]\n{{"txt": "x"}}\n{{"text": 3}}\n')
    (tmp_path / "b.txt").write_bytes("First line is fine.\n\nÜber alles hier.".encode("latin-1"))
    (tmp_path / "c.jsonl").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(InputError, match="unreadable text") as caught:
        read_documents(tmp_path)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 6
    assert lines[0].startswith(f"  {tmp_path / 'a.jsonl'}:2: ")
    assert lines[1] == f"  {tmp_path / 'a.jsonl'}:3: a JSON object is needed on each line"
    assert lines[2].startswith(f'  {tmp_path / "a.jsonl"}:4: "text", or "summary" and "body"')
    assert lines[3].startswith(f"  {tmp_path / 'a.jsonl'}:5: ")
    assert lines[4].startswith(f"  {tmp_path / 'b.txt'}:3: byte 0xdc is not UTF-8")
    assert lines[5].startswith(f"  {tmp_path / 'c.jsonl'}:1: byte 0xff is not UTF-8")


@pytest.mark.parametrize("read", [read_documents, documents.from_folder])
def test_binary_files_and_utf_16_are_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "a.txt").write_bytes("A line.\nAnother one.".encode("utf-16-le"))
    (tmp_path / "b.txt").write_bytes(b"fine\nPK\x03\x04\0\0")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    said = "holds NUL, so it is binary or UTF-16: convert it (iconv -t UTF-8)"
    assert str(caught.value).splitlines() == [
        "unreadable text:",
        f"  {tmp_path / 'a.txt'}:1: {said}",
        f"  {tmp_path / 'b.txt'}:2: {said}",
    ]
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_line_numbers_are_those_of_an_editor(tmp_path: Path) -> None:
    good = json.dumps({"text": "A line\u2028separator is no new line."}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(f"{good}\n{good}\n{{\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"unreadable text:\n  \S+a\.jsonl:3: "):
        read_documents(tmp_path)


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{\n" * 25)
    with pytest.raises(InputError, match="and 5 more"):
        read_documents(tmp_path)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(InputError, match=rf"{tmp_path} holds no \.txt or \.jsonl file"):
        read_documents(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n", "1 2 3 4 5 6 7 8\n"])
def test_files_without_prose_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match=r"no prose in a\.txt"):
        read_documents(tmp_path)
