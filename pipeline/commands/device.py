"""What the commands for devices share: arguments, and text from outside. The standard library and the runtime alone."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pipeline.runtime.errors import RuntimeInputError

EXIT_CODES = "Exit codes: 0 done, 2 wrong input, 4 a file fails its integrity check, 5 an engine failed."


class Parser(ArgumentParser):
    """Wrong arguments are errors as everywhere else, and the caller decides how to end."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process."""
        raise RuntimeInputError(f"{message}\n{self.format_usage().strip()}")


def new_parser(command: str, description: str, epilog: str = EXIT_CODES) -> ArgumentParser:
    """A parser with RELEASE, `--engine`, `--threads` and `--help`."""
    made = Parser(prog=f"bardlet {command}", description=description, epilog=epilog, add_help=False)
    made.add_argument("release", metavar="RELEASE", type=Path, help="Folder of a release.")
    made.add_argument("--engine", help="onnxruntime, openvino or tflite; default: the first that is installed.")
    made.add_argument("--threads", type=at_least_one, help="Threads; default: all cores.")
    made.add_argument("-h", "--help", action="help", help="Show this message and exit.")
    return made


def add_sampling(parser: ArgumentParser, max_tokens: int) -> None:
    """Options of a text; where they are not given, their value is `None`. The runtime says what numbers they may be."""
    options = parser.add_argument_group("texts")
    add = options.add_argument
    add("--max-tokens", type=at_least_one, metavar="N", help=f"The most tokens of an answer; {max_tokens}.")
    add("--temperature", type=float, metavar="T", help="0, the default, takes the most probable token; 1 draws freely.")
    add("--top-k", type=int, metavar="K", help="Draw from the K most probable tokens; 0, the default, from all.")
    add("--top-p", type=float, metavar="P", help="Draw from the tokens that make up this probability; 1.")
    add("--repetition-penalty", type=float, metavar="R", help="Weaken tokens that came already; 1 does not.")
    add("--seed", type=int, metavar="N", help="The same seed draws the same text; default: another one each time.")


SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")


def given_among(given: Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    return {name: value for name in names if (value := getattr(given, name)) is not None}


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace | None:
    """The arguments; `None` after `--help`, which has been shown.

    Raises:
        RuntimeInputError: an argument is missing or wrong.
    """
    try:
        return parser.parse_intermixed_args(arguments)
    except SystemExit:  # after --help: argparse ends the process, and the caller decides how this one ends
        return None


def at_least_one(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def decode_line(name: str, number: int, raw: bytes) -> str:
    """A line as text, without white space around it.

    Args:
        name: the file, for the message.
        number: of the line, from 1; a byte order mark before the first is dropped.
        raw: its bytes.

    Raises:
        RuntimeInputError: it is no UTF-8; the first such byte is named, with its column.
    """
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise RuntimeInputError(
            f"{name}:{number}: byte 0x{raw[error.start]:02x} at column {error.start + 1} is not UTF-8: "
            f"convert the file first, for example iconv -f latin1 -t utf-8"
        ) from None
