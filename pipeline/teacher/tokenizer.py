"""The tokenizer of a language model, its chat template, and the tokens that begin and end a text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.errors import InputError
from pipeline.layout import TOKENIZER
from pipeline.teacher import folder_tokenizer, gguf_tokenizer
from pipeline.teacher.decoders import from_gguf
from pipeline.teacher.decoders.configuration import read_configuration
from pipeline.teacher.decoders.gguf_file import GgufFile
from pipeline.teacher.found_tokenizer import FoundTokenizer
from pipeline.teacher.sources import Checkpoint

# Tokens that end a text, or a turn of a conversation, in the families that are read.
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>")
_TEXT_END = "<|endoftext|>"
# Tables are padded to round sizes: so many rows, or such a part of them, may belong to no token.
_SPARE_ROWS, _SPARE_PART = 512, 0.05
_PROBE = "def f(x):\n    return x  # 2024, naïve  “日本語” 🙂\n\tThe end.\n"


@dataclass(frozen=True)
class TeacherTokenizer:
    """A tokenizer that adds no token of its own, and what goes around a text.

    Attributes:
        tokenizer: neither cuts nor pads, and adds no special tokens.
        chat_template: Jinja, over `messages`, `add_generation_prompt` and `special_tokens`; `None` if there is none.
        start: the token before a raw text whose probabilities are wanted; see `load_tokenizer_of`.
        end: the token that ends a text, or an answer in a chat.
        stops: all tokens after which a model that answers must stop; `end` is the first of them.
        special_tokens: the texts of `bos_token` and `eos_token`, which some templates write.
    """

    tokenizer: Tokenizer
    chat_template: str | None
    start: int
    end: int
    stops: tuple[int, ...]
    special_tokens: Mapping[str, str]


def load_tokenizer_of(checkpoint: Checkpoint) -> TeacherTokenizer:
    """The tokenizer of a checkpoint, from the metadata of a GGUF file or from `tokenizer.json` in its folder.

    The token before a raw text is the one that the model saw there in training. That is the tokenizer's `bos` if the
    checkpoint says that it is added. Otherwise it is `<|endoftext|>`, which stood between texts, and where there is no
    such token, the one that ends a text. For SmolLM2 it is `<|endoftext|>`: its `bos`, `<|im_start|>`, begins a turn.

    Raises:
        InputError: there is no tokenizer, it is of a kind that is not read, or it does not fit the checkpoint.
        IntegrityError: the file is damaged.
    """
    if checkpoint.gguf is not None:
        file = GgufFile(checkpoint.gguf)
        found, where, rows = gguf_tokenizer.read(file), file.path, from_gguf.plan_of(file).config.vocabulary
    else:
        found, where = folder_tokenizer.read(checkpoint.folder), checkpoint.folder / TOKENIZER
        rows = read_configuration(checkpoint.folder)[0].vocabulary
    _require_fit(found.tokenizer, rows, where)
    _require_round_trip(found.tokenizer, where)
    return _around(found, rows, where)


def _around(found: FoundTokenizer, rows: int, where: Path) -> TeacherTokenizer:
    tokenizer = found.tokenizer
    known = [token for name in _ENDS if (token := tokenizer.token_to_id(name)) is not None]
    stops = tuple(dict.fromkeys((*found.ends, *known)))
    if not stops:
        raise InputError(f"{where} names no token that ends a text: write eos_token into tokenizer_config.json")
    between = tokenizer.token_to_id(_TEXT_END)
    start = found.bos if found.adds_bos and found.bos is not None else stops[0] if between is None else between
    _require_rows((*stops, start), rows, where)
    names = {"bos_token": found.bos, "eos_token": stops[0]}
    texts = {name: tokenizer.id_to_token(token) for name, token in names.items() if token is not None}
    special_tokens = {name: text for name, text in texts.items() if text is not None}
    return TeacherTokenizer(tokenizer, found.chat_template, start, stops[0], stops, special_tokens)


def _require_fit(tokenizer: Tokenizer, rows: int, where: Path) -> None:
    tokens = tokenizer.get_vocab_size()
    _require_rows(tokenizer.get_vocab().values(), rows, where)
    if rows - tokens > max(_SPARE_ROWS, _SPARE_PART * rows):
        raise InputError(
            f"{where}: the tokenizer has {tokens} tokens, and the checkpoint's table {rows} rows: "
            "it is another model's tokenizer; take the one that belongs to the checkpoint"
        )


def _require_rows(ids: Iterable[int], rows: int, where: Path) -> None:
    largest = max(ids, default=-1)
    if largest >= rows:
        raise InputError(
            f"{where}: the tokenizer gives ids up to {largest}, and the checkpoint's table has {rows} rows (0 to "
            f"{rows - 1}): it is another model's tokenizer; take the one that belongs to the checkpoint"
        )


def _require_round_trip(tokenizer: Tokenizer, where: Path) -> None:
    back = tokenizer.decode(tokenizer.encode(_PROBE, add_special_tokens=False).ids, skip_special_tokens=False)
    if back != _PROBE:
        raise InputError(
            f"{where}: the tokenizer loses text: {_PROBE!r} comes back as {back!r}; a language model needs one that "
            "gives every text back, such as byte-level BPE"
        )
