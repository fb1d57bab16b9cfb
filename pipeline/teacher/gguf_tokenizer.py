"""Byte-level BPE from the metadata of a GGUF file.

`tokenizer.ggml.pre` says how a text is cut before the merges. A converter that leaves it out makes other tokens:
SmolLM2 cuts before each digit, so "a  2" is `a`, two spaces and `2`, and not `a`, a space, and a space before the `2`.
The expressions are those of the families' own tokenizer.json, which llama.cpp's `unicode_regex_split` follows.
"""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipeline.errors import InputError, IntegrityError
from pipeline.teacher.decoders.gguf_file import GgufFile
from pipeline.teacher.found_tokenizer import FoundTokenizer

_CONTROL, _USER_DEFINED = 3, 4
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_BY_REGEX = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}
_GPT2 = "gpt-2"
_SINGLE_DIGITS = "smollm"


def read(file: GgufFile) -> FoundTokenizer:
    """The tokenizer of a GGUF file.

    Raises:
        InputError: the file has no tokenizer, or one of another kind.
        IntegrityError: its merges or its tokens do not make a tokenizer.
    """
    template, ends = file.get("tokenizer.chat_template"), (_token(file, name) for name in ("eos", "eot", "eom"))
    return FoundTokenizer(
        tokenizer=_tokenizer(file),
        chat_template=template if isinstance(template, str) else None,
        bos=_token(file, "bos"),
        ends=tuple(token for token in ends if token is not None),
        adds_bos=bool(file.get("tokenizer.ggml.add_bos_token", False)),
    )


def _token(file: GgufFile, name: str) -> int | None:
    token = file.get(key := f"tokenizer.ggml.{name}_token_id")
    if token is not None and (not isinstance(token, int) or token < 0):
        raise IntegrityError(f"{file.path}: {key} is {token}; a token's number is needed")
    return token


def _tokenizer(file: GgufFile) -> Tokenizer:
    kind = file.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise InputError(
            f"{file.path}: tokenizer.ggml.model is {kind or 'missing'}, which is not read; gpt2 (byte-level BPE) is"
        )
    tokens, merges = file.get("tokenizer.ggml.tokens") or [], file.get("tokenizer.ggml.merges") or []
    kinds, name = file.get("tokenizer.ggml.token_type") or [], file.get("tokenizer.ggml.pre", "missing")
    split = _BY_REGEX.get(name)
    try:
        pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
        # A text that is a token of Llama 3 is that token, whatever the merges would make of it.
        whole = split is _LLAMA3
        tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, pairs, ignore_merges=whole))
    except Exception as error:  # the library raises nothing narrower
        raise IntegrityError(f"{file.path}: its tokenizer's tokens and merges do not fit together ({error})") from error
    tokenizer.pre_tokenizer = _pre_tokenizer(name, file)
    if split is _QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    marked = list(zip(tokens, kinds, strict=False))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, k in marked if k == _CONTROL])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, k in marked if k == _USER_DEFINED])
    return tokenizer


def _pre_tokenizer(name: str, file: GgufFile) -> pre_tokenizers.PreTokenizer:
    if name == _GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == _SINGLE_DIGITS:
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if name in _BY_REGEX:
        split = pre_tokenizers.Split(Regex(_BY_REGEX[name]), behavior="isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    known = ", ".join(sorted({_GPT2, _SINGLE_DIGITS, *_BY_REGEX}))
    raise InputError(f"{file.path}: tokenizer.ggml.pre is {name}, which is not read; known are {known}")
