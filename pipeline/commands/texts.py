"""What `bardlet run` writes for a release that generates texts."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from pipeline.commands.device import SAMPLING, add_sampling, given_among
from pipeline.runtime.answer import MAX_TOKENS, Answer
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.generate import answer_line
from pipeline.runtime.product import DIGITS
from pipeline.runtime.release import Release

_OPTIONS = ("max_tokens", *SAMPLING, "seed", "stop", "drafts")


def add_options(parser: ArgumentParser) -> None:
    """The options that only a release for texts has."""
    add_sampling(parser, MAX_TOKENS)
    add = parser.add_argument
    add("--stop", metavar="TEXT", action="append", help="End an answer before this text; may be given several times.")
    add("--drafts", choices=("none", "prompt"), help="Guess tokens from what a text repeats; default: none.")
    add("--score", action="store_true", default=None, help="Write how well each text is predicted, in bits per byte.")


def refuse_options(release: Release, given: Namespace) -> None:
    """Raise where an option for texts is given to a release that does not generate any."""
    if found := given_among(given, (*_OPTIONS, "score")):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in found)
        verb = release.manifest.verb
        raise RuntimeInputError(f"{given.release} is there to {verb}, and {names} are for texts: leave them out")


def write_texts(release: Release, prompts: Sequence[str], given: Namespace) -> None:
    """Continue or score each prompt.

    One prompt in a terminal is continued as plain text, while it comes. Otherwise each gives a JSON line.
    """
    options = given_among(given, _OPTIONS)
    if given.score:
        if options:
            raise RuntimeInputError("--score reads texts and writes none: leave the options of answers out")
        for prompt in prompts:
            found = {"text": prompt, "bits_per_byte": round(release.score(prompt), DIGITS)}
            print(json.dumps(found, ensure_ascii=False))
    elif len(prompts) == 1 and sys.stdout.isatty():
        show(release.generate(prompts[0], **options))
    else:
        for prompt in prompts:
            print(answer_line(prompt, release.generate(prompt, **options)), flush=True)


def show(answer: Answer) -> None:
    """Write an answer as it comes, and end its line."""
    for piece in answer:
        print(piece, end="", flush=True)
    print(flush=True)
