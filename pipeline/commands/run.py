"""`bardlet run`: run a release on texts or images, or search a file. Works on a device, without torch and DVC."""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.commands import texts
from pipeline.commands.device import at_least_one, decode_line, new_parser, parse
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.product import DIGITS
from pipeline.runtime.release import Hit, Release

Line = tuple[int, str]

_DESCRIPTION = (
    "Run a release on texts or images; with --corpus, search a file. Writes one JSON line an input: the embedding of a "
    "text, or with --corpus the best lines of FILE; the most probable classes of an image; what follows a text, or "
    "with --score how well it is predicted. In a terminal the search result is a table, and a single text is continued "
    "as plain text. The release's files are checked against its manifest first; exit code 4 if one differs."
)
_FIRST_PROGRESS_S = 2.0
_PROGRESS_S = 0.2
_PLAIN_PROGRESS_S = 5.0


def parser() -> ArgumentParser:
    """The parser of the command's arguments: the standard library's, so that a device needs no other package."""
    made = new_parser("run", _DESCRIPTION)
    made.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="Texts, or PNG and JPEG files; without any, lines of standard input.",
    )
    made.add_argument("--corpus", metavar="FILE", type=Path, help="UTF-8 file whose lines are ranked for each text.")
    made.add_argument(
        "--top", type=at_least_one, default=5, help="Classes of an image, or with --corpus lines for a text; 5."
    )
    texts.add_options(made)
    return made


def main(arguments: Sequence[str]) -> None:
    """Parse `arguments` and run a release; `--help` only shows the help.

    Raises:
        RuntimeInputError: an argument is missing or wrong.
    """
    if given := parse(parser(), arguments):
        run(given)


def run(given: Namespace) -> None:
    """Write one JSON line an input, or a text as it comes; see `parser` for the arguments.

    Raises:
        RuntimeInputError: an input, the corpus or an option cannot be used.
        TamperedError: a file of the release is not what its manifest says.
        EngineError: the engine is not installed, or refuses the model.
    """
    queries = list(given.inputs) or [text for _, text in read_lines("standard input", _stdin())]
    lines = read_lines(str(given.corpus), _read(given.corpus)) if given.corpus else None
    model = Release.open(given.release, given.engine, given.threads)
    verb = model.manifest.verb
    if lines is not None and verb != "encode":
        raise RuntimeInputError(f"{given.release} is there to {verb}, and only texts are ranked: leave --corpus out")
    if verb == "generate":
        texts.write_texts(model, queries, given)
        return
    texts.refuse_options(model, given)
    if lines is None:
        for line in model.product.lines(queries, given.top):
            print(line)
        return
    rows = model.encode([text for _, text in lines], on_progress=_progress(len(lines)))
    show = _print_table if sys.stdout.isatty() else _print_results
    for text, hits in zip(queries, model.rank(queries, rows, given.top), strict=True):
        show(text, hits, lines)


def read_lines(name: str, content: bytes) -> list[Line]:
    """The lines of a file that are not blank, each with its number from 1.

    Raises:
        RuntimeInputError: a line is not UTF-8 (the first is named, with its column), or there is no text.
    """
    decoded = ((number, decode_line(name, number, raw)) for number, raw in enumerate(content.split(b"\n"), start=1))
    lines = [(number, text) for number, text in decoded if text]
    if not lines:
        raise RuntimeInputError(f"{name} has no text: at least one line that is not blank is needed")
    return lines


def _stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise RuntimeInputError("no INPUT given: write one behind RELEASE, or pipe lines into standard input")
    return sys.stdin.buffer.read()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RuntimeInputError(f"{path}: {error.strerror}") from error


def _print_results(text: str, hits: Sequence[Hit], lines: Sequence[Line]) -> None:
    results = [
        {"rank": hit.rank, "score": round(hit.score, DIGITS), "line": lines[hit.index][0], "text": lines[hit.index][1]}
        for hit in hits
    ]
    print(json.dumps({"text": text, "results": results}, ensure_ascii=False))


def _print_table(text: str, hits: Sequence[Hit], lines: Sequence[Line]) -> None:
    print(text)
    print(f"{'rank':>6}  {'score':>6}  {'line':>6}  text")
    for hit in hits:
        number, found = lines[hit.index]
        print(f"{hit.rank:>6}  {hit.score:>6.3f}  {number:>6}  {found}")
    print()


def _progress(total: int) -> Callable[[int], None]:
    """A counter with rate and time left on stderr; a plain line now and then where that is no terminal."""
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    shown = started + _FIRST_PROGRESS_S - (_PROGRESS_S if terminal else _PLAIN_PROGRESS_S)

    def show(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        due = now - shown >= (_PROGRESS_S if terminal else _PLAIN_PROGRESS_S)
        if due or (done == total and shown > started):
            shown = now
            rate = done / (now - started)
            line = f"corpus: {done}/{total} lines, {rate:.0f}/s, {(total - done) / rate:.0f} s left"
            end = "" if terminal and done < total else "\n"
            print(f"\r{line:<70}" if terminal else line, end=end, file=sys.stderr, flush=True)

    return show
