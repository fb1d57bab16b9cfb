"""The tokenizer in a folder of transformers: `tokenizer.json`, and what its neighbours say of special tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipeline.errors import InputError
from pipeline.layout import CONFIG, TOKENIZER
from pipeline.teacher.found_tokenizer import FoundTokenizer

_SETTINGS, _GENERATION, _TEMPLATE = "tokenizer_config.json", "generation_config.json", "chat_template.jinja"
_DEFAULT = "default"


def read(folder: Path) -> FoundTokenizer:
    """The tokenizer of a folder.

    Raises:
        InputError: there is no tokenizer.json, or it is none; a neighbour is no valid JSON.
    """
    content = _json(folder / TOKENIZER)
    if not content:
        raise InputError(f"{folder / TOKENIZER} is missing or empty: save the fast tokenizer beside the weights")
    settings = _json(folder / _SETTINGS)
    with_specials = _tokenizer(content, folder)
    tokenizer = _tokenizer({**content, "truncation": None, "padding": None, "post_processor": None}, folder)
    bos, ends = _special_tokens(folder, settings, tokenizer)
    added = [token for token in with_specials.encode("a").ids if token not in tokenizer.encode("a").ids]
    adds_bos = settings.get("add_bos_token") is True or (bos is not None and added[:1] == [bos])
    return FoundTokenizer(tokenizer, _template(folder, settings), bos, ends, adds_bos)


def _tokenizer(content: Mapping[str, Any], folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{folder / TOKENIZER} is no tokenizer that the package tokenizers reads: {error}") from error


def _special_tokens(
    folder: Path, settings: Mapping[str, Any], tokenizer: Tokenizer
) -> tuple[int | None, tuple[int, ...]]:
    """`bos`, and what ends a text: from the tokenizer's settings, else from the model's."""
    config, generation = _json(folder / CONFIG), _json(folder / _GENERATION)
    named: dict[str, list[int]] = {}
    for name in ("bos", "eos"):
        text = settings.get(f"{name}_token")
        text = text.get("content") if isinstance(text, dict) else text
        token = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if isinstance(text, str) and token is None:
            raise InputError(
                f"{folder / _SETTINGS}: {name}_token is {text!r}, which {folder / TOKENIZER} does not have"
            )
        others = [*_listed(generation.get(f"{name}_token_id")), *_listed(config.get(f"{name}_token_id"))]
        named[name] = others if token is None else [token, *others]
    return next(iter(named["bos"]), None), tuple(dict.fromkeys(named["eos"]))


def _listed(value: Any) -> list[int]:
    return [token for token in (value if isinstance(value, list) else [value]) if isinstance(token, int)]


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    if (folder / _TEMPLATE).is_file():
        return (folder / _TEMPLATE).read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by their names
        template = next((item["template"] for item in template if item.get("name") == _DEFAULT), None)
    return template if isinstance(template, str) else None


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    return content if isinstance(content, dict) else {}
