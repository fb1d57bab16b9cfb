"""`bardlet run` on a tiny release."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli
from tests.runtime import tiny

MakeRelease = Callable[..., Path]


class _Bytes:
    """Standard input of a pipe."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_texts_become_json_lines(make_release: MakeRelease, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(make_release()), "read a file", "parse", "--engine", "tflite", "--threads", "1"]) == 0
    first, second = _lines(capsys)
    assert (first["text"], second["text"]) == ("read a file", "parse")
    assert isinstance(first["embedding"], list)
    assert len(first["embedding"]) == tiny.DIM


def test_a_corpus_is_ranked_with_line_numbers(
    make_release: MakeRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(b"\xef\xbb\xbfopen socket\r\n\r\nread a csv file\r\nparse date\r\n")
    assert cli.main(["run", str(make_release()), "read csv", "--corpus", str(corpus), "--top", "2"]) == 0
    (found,) = _lines(capsys)
    results = found["results"]
    assert isinstance(results, list)
    assert [set(result) for result in results] == [{"rank", "score", "line", "text"}] * 2
    assert (results[0]["rank"], results[0]["line"], results[0]["text"]) == (1, 3, "read a csv file")


def test_a_terminal_gets_a_table(
    make_release: MakeRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus.txt").write_text("parse date\n")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["run", str(make_release()), "parse", "--corpus", str(tmp_path / "corpus.txt")]) == 0
    title, header, row, blank = capsys.readouterr().out.splitlines()
    assert (title, blank) == ("parse", "")
    assert header.split() == ["rank", "score", "line", "text"]
    assert row.split()[0] == "1"
    assert row.endswith("1  parse date")


def test_texts_come_from_a_pipe(
    make_release: MakeRelease, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Bytes(b"read a file\nparse\n"))
    assert cli.main(["run", str(make_release())]) == 0
    assert [line["text"] for line in _lines(capsys)] == ["read a file", "parse"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no text"),
        (b"\n  \n", "has no text"),
        ("gut\nGr\u00f6\u00dfe\n".encode("latin-1"), "corpus.txt:2: byte 0xf6 at column 3 is not UTF-8"),
        (None, "corpus.txt: No such file or directory"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_wrong_input(
    content: bytes | None, message: str, make_release: MakeRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.txt"
    if content is not None:
        corpus.write_bytes(content)
    assert cli.main(["run", str(make_release()), "text", "--corpus", str(corpus)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_tampered_release_ends_with_4(make_release: MakeRelease, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_release()
    (folder / "tokenizer.json").write_text("{}")
    assert cli.main(["run", str(folder), "text"]) == 4
    assert "tokenizer.json has 2 bytes, the manifest says" in capsys.readouterr().err


@pytest.mark.parametrize("extra", [["--engine", "torch"], ["--threads", "0"], ["--top", "0"]])
def test_wrong_options_end_with_2(extra: list[str], make_release: MakeRelease) -> None:
    assert cli.main(["run", str(make_release()), "text", *extra]) == 2


def test_the_command_loads_neither_torch_nor_the_schema(make_release: MakeRelease) -> None:
    code = (
        "import sys; from pipeline import cli; "
        f"code = cli.main(['run', {str(make_release())!r}, 'read', '--engine', 'onnxruntime']); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    # typer loads pydantic by itself where it is installed; Bardlet's schema must stay away.
    assert not {"torch", "dvc", "yaml", "openvino", "ai_edge_litert", "pipeline.params"} & loaded
