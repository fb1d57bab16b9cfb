"""Splitting documents into training, validation and held-out texts, so that no group is in two of them."""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.text.texts import Document, Passage

# Retrieval embeds passages, and queries look like sentences. A fifth of passages was too little: 82 % of the teacher's
# recall was kept, and 86 % when the teacher itself embedded the passages.
_PASSAGE_SHARE = 0.4
# A group larger than this share of all texts is never held out: it would take the training set with it.
_MAX_HELD_OUT_SHARE = 0.04
# Where there are few groups, a group of up to this many times their mean size may be held out.
_MAX_HELD_OUT_MEANS = 1.5


@dataclass(frozen=True)
class Sizes:
    """How much goes where.

    Attributes:
        holdout_fraction: share of the sentences whose groups are for evaluation.
        max_train_texts: texts to train on at most.
        validation_texts: texts to validate on at most.
        heldout_texts: held-out texts at most.
        retrieval_pairs: summaries with their bodies, for recall.
    """

    holdout_fraction: float
    max_train_texts: int
    validation_texts: int
    heldout_texts: int
    retrieval_pairs: int


@dataclass(frozen=True)
class Corpus:
    """Texts of each split, each with the groups it came from."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    heldout: tuple[str, ...]
    retrieval: tuple[Passage, ...]
    groups: dict[str, tuple[str, ...]]


def split(documents: Sequence[Document], sizes: Sizes, seed: int, where: str) -> Corpus:
    """Deduplicate and split `documents` by group.

    A text of an evaluation group that also stands in a training group is dropped from the evaluation.

    Raises:
        InputError: a split has too few texts; all such splits are named together.
    """
    counts: dict[str, int] = defaultdict(int)
    for document in documents:
        counts[document.group] += len(document.sentences)
    train_groups, validation_groups, heldout_groups = assign(counts, sizes.holdout_fraction, seed)
    rng = random.Random(seed)
    train_documents = [d for d in documents if d.group in train_groups]
    seen = {key(text) for document in train_documents for text in _texts(document)}
    train = _train_texts(train_documents, sizes.max_train_texts, rng)
    validation = _evaluation_sentences(documents, validation_groups, seen, sizes.validation_texts, rng)
    heldout = _evaluation_sentences(documents, heldout_groups, seen, sizes.heldout_texts, rng)
    retrieval = _retrieval(documents, heldout_groups, seen, sizes.retrieval_pairs, rng)
    corpus = Corpus(
        tuple(train),
        tuple(validation),
        tuple(heldout),
        tuple(retrieval),
        {
            "train": tuple(sorted(train_groups)),
            "validation": tuple(sorted(validation_groups)),
            "heldout": tuple(sorted(heldout_groups)),
        },
    )
    _check_sizes(corpus, sizes, where)
    return corpus


def key(text: str) -> str:
    """What texts are compared by: two texts are the same if they differ in case and white space alone."""
    return " ".join(text.casefold().split())


def _texts(document: Document) -> Iterable[str]:
    yield from document.sentences
    if document.passage:
        yield document.passage.summary
        yield document.passage.body


def assign(counts: Mapping[str, int], fraction: float, seed: int) -> tuple[set[str], set[str], set[str]]:
    """Groups to train, to validate and to evaluate on; every sixth of the last two is for validation.

    Groups in a seeded order go to evaluation until it has `fraction` of everything.

    Args:
        counts: how much each group has, such as sentences or bytes.
    """
    total = sum(counts.values())
    order = sorted(counts, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).hexdigest())
    evaluation: list[str] = []
    taken = 0
    largest = total * max(_MAX_HELD_OUT_SHARE, _MAX_HELD_OUT_MEANS / max(len(counts), 1))
    for group in order:
        # Validation and held-out texts need a group each.
        if taken >= fraction * total and len(evaluation) > 1:
            break
        if counts[group] <= largest and len(evaluation) < len(counts) - 1:
            evaluation.append(group)
            taken += counts[group]
    validation = set(evaluation[::6]) if len(evaluation) > 1 else set()
    heldout = set(evaluation) - validation
    return set(counts) - set(evaluation), validation, heldout


def _train_texts(documents: Sequence[Document], limit: int, rng: random.Random) -> list[str]:
    sentences = _unique(s for d in documents for s in d.sentences)
    passages = _unique(d.passage.body for d in documents if d.passage)
    rng.shuffle(sentences)
    rng.shuffle(passages)
    texts = passages[: int(limit * _PASSAGE_SHARE)]
    texts += sentences[: limit - len(texts)]
    rng.shuffle(texts)
    return texts


def _evaluation_sentences(
    documents: Sequence[Document], groups: set[str], seen: set[str], limit: int, rng: random.Random
) -> list[str]:
    sentences = _unique(s for d in documents if d.group in groups for s in d.sentences if key(s) not in seen)
    rng.shuffle(sentences)
    return sentences[:limit]


def _retrieval(
    documents: Sequence[Document], groups: set[str], seen: set[str], limit: int, rng: random.Random
) -> list[Passage]:
    """Pairs whose summary and whose body are each unique, so that there is one right answer."""
    pairs = [d.passage for d in documents if d.group in groups and d.passage]
    pairs = [p for p in pairs if key(p.summary) not in seen and key(p.body) not in seen]
    by_summary = {key(p.summary): p for p in reversed(pairs)}
    by_body = {key(p.body): p for p in reversed(list(by_summary.values()))}
    unique = sorted(by_body.values(), key=lambda pair: pair.summary)
    rng.shuffle(unique)
    return unique[:limit]


def _unique(texts: Iterable[str]) -> list[str]:
    return list({key(text): text for text in texts}.values())


def _check_sizes(corpus: Corpus, sizes: Sizes, where: str) -> None:
    found = {
        "train": (len(corpus.train), 1),
        "validation": (len(corpus.validation), min(sizes.validation_texts, 2)),
        "heldout": (len(corpus.heldout), min(sizes.heldout_texts, 3)),
        "retrieval": (len(corpus.retrieval), sizes.retrieval_pairs),
    }
    problems = [f"{name}: {have} texts, at least {need} needed" for name, (have, need) in found.items() if have < need]
    if problems:
        raise InputError(
            f"{where} gives too little text after deduplication and splitting:\n  " + "\n  ".join(problems)
        )
