"""Dropping rows of the vocabulary that the training texts never use, and rewriting the tokenizer to match.

A WordPiece tokenizer splits a word that it no longer knows into pieces that it does, so a dropped row costs a few more
tokens, never an unknown one, as long as every single character stays.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline.errors import InputError


def indispensable(tokenizer: Tokenizer, rows: int) -> NDArray[np.bool_]:
    """Which of a table's `rows` always stay: special tokens and ASCII characters, bool `[rows]`.

    All rows stay where the tokenizer is not a WordPiece, because it cannot split a word into pieces that it knows.
    """
    if not _is_word_piece(json.loads(tokenizer.to_str())):
        return np.ones(rows, np.bool_)
    needed = np.zeros(rows, np.bool_)
    for token, index in tokenizer.get_vocab().items():
        needed[index] = _is_special(token, tokenizer) or _is_character(token)
    return needed


def rows_to_keep(
    counts: NDArray[np.int64], needed: NDArray[np.bool_], min_count: int, at_most: int | None = None
) -> NDArray[np.int64]:
    """Old ids of the rows that stay, ascending.

    Args:
        counts: how often each token occurs in the training texts, int64 `[rows]`.
        needed: rows that always stay, bool `[rows]`.
        min_count: another row stays when it occurs this often.
        at_most: the most rows to keep, no fewer than are needed; the rarest go first, of equals the highest id.

    Returns:
        int64 `[kept]`; row i of the pruned table is row `result[i]` of the old one.
    """
    wished = np.flatnonzero(needed | (counts >= min_count))
    if at_most is None or len(wished) <= at_most:
        return wished
    order = np.lexsort((wished, -counts[wished], ~needed[wished]))
    return np.sort(wished[order[:at_most]])


def prune_tokenizer(tokenizer: Tokenizer, kept: NDArray[np.int64]) -> Tokenizer:
    """The tokenizer with only the `kept` rows, int64 `[kept]`, renumbered from zero in their old order.

    Raises:
        InputError: it is not a WordPiece tokenizer, so it could not split the dropped words into pieces.
    """
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    if not _is_word_piece(state):
        raise InputError(
            f"the vocabulary of a {state['model']['type']} tokenizer cannot be pruned, only WordPiece: "
            "set prune.vocabulary_min_count: 0"
        )
    new_id = {int(old): new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {token: new_id[i] for token, i in state["model"]["vocab"].items() if i in new_id}
    state["added_tokens"] = [
        {**entry, "id": new_id[entry["id"]]} for entry in state["added_tokens"] if entry["id"] in new_id
    ]
    _renumber_template(state.get("post_processor"), new_id)
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _renumber_template(processor: Any, new_id: Mapping[int, int]) -> None:
    if not processor:
        return
    if processor["type"] == "TemplateProcessing":
        for entry in processor["special_tokens"].values():
            entry["ids"] = [new_id[i] for i in entry["ids"]]
    elif processor["type"] == "BertProcessing":
        for name in ("sep", "cls"):
            processor[name] = [processor[name][0], new_id[processor[name][1]]]


def _is_word_piece(state: Mapping[str, Any]) -> bool:
    return bool(state["model"]["type"] == "WordPiece")


def _is_special(token: str, tokenizer: Tokenizer) -> bool:
    if token.startswith("[unused"):
        return False
    return token in {added.content for added in tokenizer.get_added_tokens_decoder().values()}


def _is_character(token: str) -> bool:
    piece = token.removeprefix("##")
    return len(piece) == 1 and piece.isascii()
