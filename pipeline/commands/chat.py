"""`bardlet chat`: talk to a release in a terminal, or line by line through a pipe. Works on a device."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pipeline.commands.device import SAMPLING, add_sampling, decode_line, given_among, new_parser, parse
from pipeline.commands.interrupt import Interrupt
from pipeline.runtime.answer import MAX_TOKENS
from pipeline.runtime.chat import Conversation
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.release import Release
from pipeline.runtime.sampling import Sampling

_DESCRIPTION = (
    "Talk to a release. It remembers the conversation until its context is full; then the oldest turns are forgotten. "
    "Each line is a message. Without a terminal, each line of standard input is one, and only answers go to standard "
    "output."
)
_EPILOG = (
    "Ctrl-C ends an answer; Ctrl-D, or Ctrl-C where you write, ends the chat. "
    "Exit codes: 0 done, 2 wrong input, 4 a file fails its integrity check, 5 an engine failed, 130 Ctrl-C."
)
_HELP = "/reset forgets the conversation, /system TEXT begins another one with this system prompt, /stats, /quit"
_PROMPT = "> "


def parser() -> ArgumentParser:
    """The parser of the command's arguments; see `run.parser`."""
    made = new_parser("chat", _DESCRIPTION, _EPILOG)
    made.add_argument("--system", metavar="TEXT", help="The system prompt; default: the model's own.")
    made.add_argument("--stats", action="store_true", help="After each answer: tokens a second and time to the first.")
    add_sampling(made, MAX_TOKENS)
    return made


def main(arguments: Sequence[str]) -> None:
    """Parse `arguments` and chat; `--help` only shows the help.

    Raises:
        RuntimeInputError: an argument is missing or wrong, the release does not chat, or a message cannot be used.
    """
    given = parse(parser(), arguments)
    if given is None:
        return
    sampling = Sampling(**given_among(given, SAMPLING))
    release = Release.open(given.release, given.engine, given.threads)
    talk(Chat(release.chat(given.system, given.seed), given, sampling))


def talk(chat: "Chat") -> None:
    """Answer messages until there are no more.

    A message that cannot be used ends a chat through a pipe. In a terminal it is only named.
    """
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        print(f"{_HELP}; Ctrl-C ends an answer, Ctrl-D the chat.", file=sys.stderr)
    for message in _typed() if is_terminal else _piped():
        try:
            if not chat.take(message):
                return
        except RuntimeInputError as error:
            if not is_terminal:
                raise
            print(f"bardlet: error: {error}", file=sys.stderr)


class Chat:
    """A conversation with its commands."""

    def __init__(self, conversation: Conversation, given: Namespace, sampling: Sampling) -> None:
        self._conversation, self._sampling = conversation, sampling
        self._system: str | None = given.system
        self._shows_stats: bool = given.stats
        self._max_tokens: int = given.max_tokens or MAX_TOKENS
        self._stats = "no answer yet"

    def take(self, message: str) -> bool:
        """Answer a message or do what a command says; False ends the chat."""
        command, _, rest = message.partition(" ")
        if not command.startswith("/"):
            self._answer(message)
        elif command == "/quit":
            return False
        elif command == "/stats":
            self._say(self._stats)
        elif command == "/reset":
            self._conversation.reset(self._system)
            self._say("the conversation is forgotten")
        elif command == "/system" and rest.strip():
            self._conversation.reset(rest.strip())
            self._system = rest.strip()
            self._say("a new conversation with this system prompt")
        else:
            self._say(f"there is no {message!r:.40}: {_HELP}")
        return True

    def _answer(self, message: str) -> None:
        started = time.perf_counter()
        answer = self._conversation.say(message, sampling=self._sampling, max_tokens=self._max_tokens)
        if dropped := self._conversation.dropped:
            self._say(f"the context is full: the oldest {dropped} turns are forgotten")
        first = started
        with Interrupt() as interrupt:
            for piece in answer:
                first = time.perf_counter() if first == started else first
                print(piece, end="", flush=True)
                if interrupt.came:
                    break
        print(flush=True)
        ended = "" if interrupt.came else _ENDED.get(answer.ended, "")
        if ended:
            self._say(ended.format(max_tokens=self._max_tokens))
        self._stats = _describe(len(answer.ids), first - started, time.perf_counter() - first, self._conversation.fill)
        if self._shows_stats:
            self._say(self._stats)

    def _say(self, text: str) -> None:
        """A word of the command's own, apart from the answers."""
        print(f"({text})", file=sys.stderr, flush=True)


# What is said of an answer that the model did not end.
_ENDED = {
    "limit": "cut after {max_tokens} tokens: see --max-tokens",
    "context": "cut: the context is full, and the next message will drop the oldest turns",
}


def _describe(tokens: int, first_s: float, rest_s: float, fill: tuple[int, int]) -> str:
    """Figures of one answer; the rate leaves the first token out, which waits for the message to be read."""
    rate = f"{(tokens - 1) / rest_s:.1f} tokens/s" if tokens > 1 and rest_s > 0 else "too short for a rate"
    return f"{tokens} tokens, {rate}, {first_s * 1e3:.0f} ms to the first, {fill[0]} of {fill[1]} in the context"


def _typed() -> Iterator[str]:
    """Messages from a terminal; lines can be edited where Python has readline."""
    with suppress(ModuleNotFoundError):
        import readline  # noqa: F401  (it hooks itself into `input`)
    while True:
        try:
            line = input(_PROMPT if sys.stdout.isatty() else "").strip()
        except EOFError:
            print()
            return
        if line:
            yield line


def _piped() -> Iterator[str]:
    """Messages from a pipe or a file, one a line."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        if text := decode_line("standard input", number, raw):
            yield text
