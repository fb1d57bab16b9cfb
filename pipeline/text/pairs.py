"""Pairs for contrastive training: the first sentence of a training passage, and the rest of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from pipeline.text.texts import first_and_rest
from pipeline.text.tokens import Tokens, tokenize

_MIN_REST_WORDS = 8


@dataclass(frozen=True)
class Pairs:
    """Query i belongs to document i."""

    queries: Tokens
    documents: Tokens

    def __len__(self) -> int:
        return len(self.queries)


def passage_pairs(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> Pairs:
    """Take pairs out of training texts: a sentence must find the passage it opened (after arXiv:1906.00300, section 4).

    Texts of one sentence, or with fewer than 8 words after the first sentence, give no pair.
    """
    parts = [first_and_rest(text) for text in texts]
    kept = [(first, rest) for first, rest in parts if rest.count(" ") + 1 >= _MIN_REST_WORDS]
    queries, documents = ([pair[side] for pair in kept] for side in (0, 1))
    return Pairs(tokenize(queries, tokenizer, max_tokens), tokenize(documents, tokenizer, max_tokens))
