"""Trimming a byte-level BPE tokenizer to a subset that is closed under its merges.

The trimmed tokenizer writes every text without a loss, since all bytes stay. It makes the merges of the full one in the
same order, but for those whose token is gone. So a token of the full one becomes a run of pieces, and where a piece
starts depends on that token alone as long as no piece is made across its edges.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline.errors import InputError


def count_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """How often each token of `tokenizer` occurs in `texts`, special tokens aside, int64 `[vocabulary]`."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for ids in encode(texts, tokenizer):
        np.add.at(counts, ids, 1)
    return counts


def encode(texts: Sequence[str], tokenizer: Tokenizer) -> list[NDArray[np.int32]]:
    """The tokens of each whole text, without special ones, int32 `[n]` each."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A text that writes about `<|endoftext|>` means the characters.
    tokenizer.encode_special_tokens = True
    return [np.array(one.ids, np.int32) for one in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def trim(tokenizer: Tokenizer, counts: NDArray[np.int64], size: int, keep: Sequence[str]) -> NDArray[np.int64]:
    """Which tokens to keep: bytes, the tokens of `keep`, and the most frequent ones with all that merge into them.

    Args:
        counts: of each token in the training texts, int64 `[vocabulary]`.
        size: of the trimmed vocabulary.
        keep: special tokens that stay.

    Returns:
        Their ids, ascending, int64 `[size]`, or fewer where fewer tokens occur.

    Raises:
        InputError: the tokenizer is no byte-level BPE, lacks a token of `keep`, or `size` does not hold what must stay.
    """
    state = _state(tokenizer)
    vocabulary: dict[str, int] = state["model"]["vocab"]
    parts = _parts(state)
    special = _special(state)
    for token in keep:
        if token not in special:
            raise InputError(f"the tokenizer has no special token {token!r}: it has {', '.join(sorted(special))}")
    kept = {token for token in vocabulary if token not in parts and token not in special} | set(keep)
    if len(kept) > size:
        raise InputError(f"a vocabulary of {size} does not hold the {len(kept)} bytes and special tokens that stay")
    names = {index: token for token, index in vocabulary.items()}
    for index in np.argsort(-counts, kind="stable"):
        if counts[index] == 0 or len(kept) == size:
            break
        name = names.get(int(index))
        if name is not None and name not in special:
            wanted = _closure(name, parts, kept)
            if len(kept) + len(wanted) <= size:
                kept |= wanted
    ids = {**vocabulary, **special}
    return np.array(sorted(ids[token] for token in kept), np.int64)


def trimmed_tokenizer(tokenizer: Tokenizer, kept: NDArray[np.int64]) -> Tokenizer:
    """The tokenizer with the `kept` tokens alone, int64 `[kept]`, numbered from zero in their old order.

    It adds no special tokens to a text.

    Raises:
        InputError: it is no byte-level BPE.
    """
    state = _state(tokenizer)
    new_id = {int(old): new for new, old in enumerate(kept)}
    model = state["model"]
    model["vocab"] = {token: new_id[index] for token, index in model["vocab"].items() if index in new_id}
    model["merges"] = [
        pair for pair in model["merges"] if all(part in model["vocab"] for part in (*_pair(pair), "".join(_pair(pair))))
    ]
    state["added_tokens"] = [
        {**entry, "id": new_id[entry["id"]]} for entry in state["added_tokens"] if entry["id"] in new_id
    ]
    state["post_processor"] = None
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def first_pieces(tokenizer: Tokenizer, trimmed: Tokenizer) -> NDArray[np.int64]:
    """The first piece that the trimmed tokenizer makes of each token of the full one, int64 `[vocabulary]`.

    Summing the full tokenizer's probabilities by it gives the probability of the next piece, where tokens of both start
    at the same place. A special token that was dropped has none: -1.
    """
    special = set(_special(_state(tokenizer)))
    kept = trimmed.get_vocab()
    found = np.full(tokenizer.get_vocab_size(), -1, np.int64)
    for token, index in tokenizer.get_vocab().items():
        found[index] = kept.get(token, -1) if token in special else trimmed.model.tokenize(token)[0].id
    return found


def _state(tokenizer: Tokenizer) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    decoder = (state.get("decoder") or {}).get("type")
    if state["model"]["type"] != "BPE" or decoder != "ByteLevel":
        raise InputError(
            f"the teacher's tokenizer is a {state['model']['type']} with the decoder {decoder}: "
            "only a BPE over bytes (decoder ByteLevel) can be trimmed without losing text"
        )
    return state


def _special(state: Mapping[str, Any]) -> dict[str, int]:
    return {entry["content"]: entry["id"] for entry in state["added_tokens"]}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """A merge, which files hold as a pair or, older ones, as one string."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _parts(state: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The two tokens that each token is first merged of."""
    parts: dict[str, tuple[str, str]] = {}
    for merge in state["model"]["merges"]:
        left, right = _pair(merge)
        parts.setdefault(left + right, (left, right))
    return parts


def _closure(token: str, parts: Mapping[str, tuple[str, str]], kept: set[str]) -> set[str]:
    """The tokens that are missing in `kept` to make `token` by merges."""
    wanted: set[str] = set()
    pending = [token]
    while pending:
        one = pending.pop()
        if one not in kept and one not in wanted:
            wanted.add(one)
            pending += parts.get(one, ())
    return wanted
