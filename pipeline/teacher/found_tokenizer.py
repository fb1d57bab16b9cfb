"""What a checkpoint says about its tokenizer, wherever it lies."""

from dataclasses import dataclass

from tokenizers import Tokenizer


@dataclass(frozen=True)
class FoundTokenizer:
    """A tokenizer that neither cuts, pads nor adds special tokens.

    Attributes:
        tokenizer: text to ids and back.
        chat_template: Jinja; `None` if there is none.
        bos: the token that the checkpoint calls `bos`.
        ends: the tokens that the checkpoint names as ends of a text, `eos` first.
        adds_bos: whether `bos` belongs before each text.
    """

    tokenizer: Tokenizer
    chat_template: str | None
    bos: int | None
    ends: tuple[int, ...]
    adds_bos: bool
