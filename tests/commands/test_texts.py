"""`bardlet run` on a release that generates texts."""

import json
import sys
from pathlib import Path

import pytest

from pipeline import cli
from tests.runtime import tiny_images, tiny_texts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pipeline.runtime.release.open_session", lambda *_: tiny_texts.session())
    return tiny_texts.write_release(tmp_path / "release")


def _text(prompt: str, count: int) -> str:
    return "".join(tiny_texts.generator().generate(prompt, max_tokens=count))


def test_each_text_gives_a_json_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(folder), "the number", "the path", "--max-tokens", "7"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["prompt"] for line in lines] == ["the number", "the path"]
    assert [line["text"] for line in lines] == [_text("the number", 7), _text("the path", 7)]
    assert lines[0] == {**lines[0], "tokens": 7, "ended": "limit"}


def test_one_text_in_a_terminal_is_continued_as_plain_text(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["run", str(folder), "the number", "--max-tokens", "7"]) == 0
    assert capsys.readouterr().out == _text("the number", 7) + "\n"
    assert cli.main(["run", str(folder), "the number", "the path", "--max-tokens", "7"]) == 0
    assert capsys.readouterr().out.startswith('{"prompt": "the number"')


def test_the_options_of_texts_reach_the_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        *("--max-tokens", "9", "--temperature", "0.9", "--top-k", "30", "--top-p", "0.8"),
        *("--repetition-penalty", "1.2", "--seed", "4", "--stop", "zz", "--stop", "\n\n", "--drafts", "prompt"),
    ]
    assert cli.main(["run", str(folder), "the number", *options]) == 0
    expected = tiny_texts.generator().generate(
        "the number", max_tokens=9, temperature=0.9, top_k=30, top_p=0.8, repetition_penalty=1.2, seed=4,
        stop=["zz", "\n\n"],
    )  # fmt: skip
    assert json.loads(capsys.readouterr().out)["text"] == "".join(expected)


def test_score_writes_bits_per_byte(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(folder), "the number", "--score"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"text": "the number", "bits_per_byte": pytest.approx(tiny_texts.generator().score("the number"))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "--stop", ""], "a stop string is empty"),
        ([""], "has no tokens: at least one character is needed"),
        (["\udcff"], "not valid Unicode"),
        (["the number " * 60], "tokens, and it may have 95"),
        (["text", "--top-p", "1.2"], "top_p is 1.2"),
        (["text", "--score", "--seed", "1"], "--score reads texts and writes none"),
        (["text", "--corpus", __file__], "is there to generate, and only texts are ranked: leave --corpus out"),
    ],
)
def test_wrong_input_ends_with_2(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(folder), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_options_of_texts_are_refused_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_images.write_release(tmp_path / "images")
    assert cli.main(["run", str(folder), "seven.png", "--top-k", "3", "--score"]) == 2
    assert "is there to classify, and --top-k, --score are for texts: leave them out" in capsys.readouterr().err
