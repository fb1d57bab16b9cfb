"""How texts of a language model begin and end: generation.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.runtime.errors import TamperedError

GENERATION = "generation.json"


@dataclass(frozen=True)
class Generation:
    """What a decoder needs beside its weights and its tokenizer.

    Attributes:
        start: the token before a raw text.
        end: the tokens that end a text or an answer.
        context: tokens at which a text ends, the start token included.
    """

    start: int
    end: tuple[int, ...]
    context: int


def write_generation(folder: Path, generation: Generation) -> None:
    """Write generation.json into an existing folder."""
    (folder / GENERATION).write_text(json.dumps(asdict(generation)) + "\n", encoding="utf-8")


def read_generation(folder: Path) -> Generation:
    """Read generation.json of a folder.

    Raises:
        TamperedError: it is missing or damaged.
    """
    path = folder / GENERATION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Generation(int(content["start"]), tuple(map(int, content["end"])), int(content["context"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"{path} is missing or damaged ({type(error).__name__}: {error})") from error
