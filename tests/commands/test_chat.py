"""`bardlet chat`: through a pipe, and in a terminal."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import cli
from tests.runtime import tiny_texts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_texts.write_release(tmp_path / "release")


@pytest.fixture(autouse=True)
def pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runtime.release.open_session", lambda *_: tiny_texts.session())


@pytest.fixture
def talk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Chat through a pipe: the exit code, the answers, and what is said beside them."""

    def call(lines: bytes, *options: str, release: Path = folder) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        code = cli.main(["chat", str(release), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def _answers(*messages: str, system: str | None = None, count: int = 6) -> list[str]:
    from pipeline.runtime.chat import Conversation

    conversation = Conversation(tiny_texts.generator(), tiny_texts.FORMAT, system, 0)
    return ["".join(conversation.say(message, max_tokens=count)) for message in messages]


Talk = Callable[..., tuple[int, str, str]]


def test_each_line_is_a_message_and_only_answers_are_written(talk: Talk) -> None:
    code, out, _ = talk(b"the number\n\nthe path\n", "--max-tokens", "6")
    assert code == 0
    assert out == "".join(f"{answer}\n" for answer in _answers("the number", "the path"))


def test_commands_reset_and_change_the_system_prompt(talk: Talk) -> None:
    lines = b"the number\n/reset\nthe number\n/system the path\nthe number\n/quit\nnever read\n"
    code, out, err = talk(lines, "--max-tokens", "6", "--system", "the row")
    (first,), (other,) = _answers("the number", system="the row"), _answers("the number", system="the path")
    assert code == 0
    assert out == f"{first}\n{first}\n{other}\n"
    assert "(the conversation is forgotten)" in err
    assert "(a new conversation with this system prompt)" in err


def test_stats_are_shown_when_asked_for(talk: Talk) -> None:
    figures = r"\(\d+ tokens, [\d.]+ tokens/s, \d+ ms to the first, \d+ of 96 in the context\)"
    _, out, err = talk(b"/stats\nthe number\n/stats\n", "--max-tokens", "6")
    assert "(no answer yet)" in err
    assert len(re.findall(figures, err)) == 1
    assert "tokens/s" not in out
    assert len(re.findall(figures, talk(b"the number\nthe path\n", "--stats", "--max-tokens", "6")[2])) == 2


def test_a_cut_answer_and_forgotten_turns_are_said(talk: Talk) -> None:
    _, _, err = talk(b"the number\n" * 8, "--max-tokens", "6")
    assert "(cut after 6 tokens: see --max-tokens)" in err
    assert re.search(r"\(the context is full: the oldest [1-9]\d* turns are forgotten\)", err)


def test_a_seed_repeats_a_sampled_conversation(talk: Talk) -> None:
    options = ("--max-tokens", "9", "--temperature", "1", "--top-p", "0.9", "--top-k", "50", "--seed")
    lines = b"the number\nthe path\n"
    assert talk(lines, *options, "5") == talk(lines, *options, "5")
    assert talk(lines, *options, "5")[1] != talk(lines, *options, "6")[1]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (b"a\nGr\xf6\xdfe\n", (), "standard input:2: byte 0xf6 at column 3 is not UTF-8"),
        (b"x" * 400, (), "is too long"),
        (b"", ("--temperature", "-1"), "temperature is -1.0, and it must be a number of at least 0"),
        (b"", ("--top-p", "0"), "top_p is 0.0"),
        (b"", ("--max-tokens", "0"), "'0' is no number of at least 1"),
        (b"", ("--system", ""), "has no tokens"),
        (b"", ("--engine", "torch"), "has no engine 'torch'"),
    ],
)
def test_wrong_input_ends_with_2(lines: bytes, options: tuple[str, ...], message: str, talk: Talk) -> None:
    code, _, err = talk(lines, *options)
    assert code == 2
    assert message in err


def test_a_release_that_does_not_chat_is_named(talk: Talk, tmp_path: Path) -> None:
    code, _, err = talk(b"", release=tiny_texts.write_release(tmp_path / "plain", chats=False))
    assert code == 2
    assert "does not chat, it only continues texts: use `generate`, or `bardlet run`" in err


def test_an_unknown_command_is_named_and_the_chat_goes_on(talk: Talk) -> None:
    code, out, err = talk(b"/help\n/system\nthe number\n", "--max-tokens", "6")
    assert code == 0
    assert err.count("/reset forgets the conversation") == 2
    assert out == f"{_answers('the number')[0]}\n"


# As the installed command, but the release runs in PyTorch.
_CHILD = """
import sys
from tests.runtime import tiny_texts
import pipeline.runtime.release
pipeline.runtime.release.open_session = lambda *_: tiny_texts.session(8000)
from pipeline import cli
sys.exit(cli.main(["chat", *sys.argv[1:]]))
"""
_TIMEOUT_S = 120.0


class _Terminal:
    """A chat in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._end, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, *arguments],
            cwd=ROOT, stdin=other, stdout=other, stderr=other, start_new_session=True,
            env={**os.environ, "TERM": "dumb", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        os.close(other)
        self.seen = ""

    def write(self, text: str) -> None:
        os.write(self._end, text.encode())

    def read_until(self, pattern: str) -> str:
        """Wait for a pattern; what came up to it is taken."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"{pattern!r} never came: {self.seen[-500:]!r}"
            if select.select([self._end], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._end, 4096).decode(errors="replace")
                except OSError as error:  # the child has closed its end
                    raise AssertionError(f"{pattern!r} never came, the chat ended: {self.seen[-500:]!r}") from error
        taken, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return taken

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._end)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[_Terminal]:
    """A chat whose answers never end by themselves."""
    release = tiny_texts.write_release(tmp_path / "endless", context=8000)
    opened = _Terminal(str(release), "--max-tokens", "7000", "--stats")
    yield opened
    opened.close()


def test_ctrl_c_ends_the_answer_and_not_the_chat(terminal: _Terminal) -> None:
    assert "/reset forgets" in terminal.read_until("> ")
    terminal.write("the number\n")
    terminal.read_until(r"the number\r\n[\s\S]{20}")
    terminal.process.send_signal(signal.SIGINT)
    shown = terminal.read_until(r"in the context\)\r\n> ")
    assert int(re.findall(r"\((\d+) tokens,", shown)[0]) < 7000
    terminal.write("the path\n")
    terminal.read_until(r"the path\r\n[\s\S]{20}")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(r"in the context\)\r\n> ")
    terminal.write("/quit\n")
    assert terminal.process.wait(_TIMEOUT_S) == 0


def test_ctrl_c_at_the_prompt_ends_the_chat(terminal: _Terminal) -> None:
    terminal.read_until("> ")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(_TIMEOUT_S) == 130


def test_ctrl_d_at_the_prompt_ends_the_chat_well_and_errors_do_not(terminal: _Terminal) -> None:
    terminal.read_until("> ")
    terminal.write("/system \n")
    terminal.read_until(r"/quit\)\r\n> ")
    terminal.write("\x04")
    assert terminal.process.wait(_TIMEOUT_S) == 0
