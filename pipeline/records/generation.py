"""`generation.json` beside a language model's weights: what a release needs to continue texts with it."""

from pydantic import Field

from pipeline.records.base import Record


class Generation(Record):
    """Token ids; the task writes them, and they become facts of manifest.json.

    Attributes:
        start: the token before every text; where a model has none, the one that separates texts.
        end: the tokens that end a text or an answer.
    """

    start: int = Field(ge=0)
    end: tuple[int, ...]
