"""The tokenizer of a language model, its chat template, and the tokens that begin and end a text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.errors import InputError
from pipeline.layout import TOKENIZER
from pipeline.teacher.decoders.gguf_file import GgufFile
from pipeline.teacher.gguf_tokenizer import read_tokenizer
from pipeline.teacher.sources import Checkpoint

# Tokens that end a text, or a turn of a conversation, in the families that are read.
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>")
_TEXT_END = "<|endoftext|>"


@dataclass(frozen=True)
class TeacherTokenizer:
    """A tokenizer that adds no token of its own, and what goes around a text.

    Attributes:
        tokenizer: neither cuts nor pads, and adds no special tokens.
        chat_template: Jinja, over `messages`, `add_generation_prompt` and `special_tokens`; `None` if there is none.
        start: the token before a raw text whose probabilities are wanted; see `load_tokenizer_of`.
        end: the token that ends a text, or an answer in a chat.
        stops: all tokens after which a model that answers must stop; `end` is among them.
        special_tokens: the texts of `bos_token` and `eos_token`, which some templates write.
    """

    tokenizer: Tokenizer
    chat_template: str | None
    start: int
    end: int
    stops: tuple[int, ...]
    special_tokens: Mapping[str, str] = field(default_factory=dict)


def load_tokenizer_of(checkpoint: Checkpoint) -> TeacherTokenizer:
    """The tokenizer of a checkpoint, from the metadata of a GGUF file or from `tokenizer.json` in its folder.

    The token before a raw text is the one that the model saw there in training. That is the tokenizer's `bos` if the
    checkpoint says that it is added. Otherwise it is `<|endoftext|>`, which stood between texts, and where there is no
    such token, the one that ends a text. For SmolLM2 it is `<|endoftext|>`: its `bos`, `<|im_start|>`, begins a turn.

    Raises:
        InputError: there is no tokenizer, or one of a kind that is not read.
        IntegrityError: the file is damaged.
    """
    if checkpoint.gguf is not None:
        return _from_gguf(GgufFile(checkpoint.gguf))
    raise InputError(f"{checkpoint.folder / TOKENIZER}: not read yet")


def _from_gguf(file: GgufFile) -> TeacherTokenizer:
    tokenizer = read_tokenizer(file)
    bos, eos = (file.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    return _around(
        tokenizer,
        file.get("tokenizer.chat_template"),
        bos,
        eos,
        bool(file.get("tokenizer.ggml.add_bos_token")),
        file.path,
    )


def _around(
    tokenizer: Tokenizer, template: str | None, bos: int | None, eos: int | None, adds_bos: bool, path: Path
) -> TeacherTokenizer:
    known = [token for name in _ENDS if (token := tokenizer.token_to_id(name)) is not None]
    end = eos if eos is not None else next(iter(known), None)
    if end is None:
        raise InputError(f"{path} names no token that ends a text (eos_token)")
    between = tokenizer.token_to_id(_TEXT_END)
    start = bos if adds_bos and bos is not None else end if between is None else between
    names = {"bos_token": bos, "eos_token": end}
    texts = {
        name: text for name, token in names.items() if token is not None and (text := tokenizer.id_to_token(token))
    }
    return TeacherTokenizer(tokenizer, template, start, end, tuple(dict.fromkeys((end, *known))), texts)
