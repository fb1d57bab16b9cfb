import random
from dataclasses import replace

import pytest

from pipeline.errors import InputError
from pipeline.text.split import Corpus, Sizes, key, split
from pipeline.text.texts import Document, Passage

_WORDS = ("alpha", "beta", "gamma", "delta", "file", "reads", "writes", "opens", "closes", "lines", "rows", "tables")


def _sizes(**changes: int) -> Sizes:
    sizes = Sizes(0.2, max_train_texts=400, validation_texts=20, heldout_texts=40, retrieval_pairs=10)
    return replace(sizes, **changes)


def _documents(groups: int = 40, each: int = 12) -> list[Document]:
    """Groups whose documents share some texts with other groups, in other letters and spacing too."""
    rng = random.Random(0)

    def sentence() -> str:
        shared = rng.random() < 0.5
        text = " ".join(rng.choices(_WORDS[:4] if shared else _WORDS, k=4 if shared else 8))
        return rng.choice([text, text.upper(), text.replace(" ", "  ")])

    made = []
    for group in range(groups):
        for _ in range(each):
            passage = Passage(sentence(), " ".join(rng.choices(_WORDS, k=16)))
            own = " ".join(rng.choices(_WORDS, k=8))
            made.append(Document(f"group{group}", (sentence(), own, passage.summary), passage))
    return made


def _keys(corpus: Corpus) -> dict[str, set[str]]:
    pairs = {key(text) for pair in corpus.retrieval for text in (pair.summary, pair.body)}
    return {
        "train": {key(text) for text in corpus.train},
        "evaluation": {key(text) for text in (*corpus.validation, *corpus.heldout)} | pairs,
    }


def test_no_group_is_in_two_splits_and_none_is_lost() -> None:
    groups = split(_documents(), _sizes(), 3, "here").groups
    assert not set(groups["train"]) & set(groups["validation"])
    assert not set(groups["train"]) & set(groups["heldout"])
    assert not set(groups["validation"]) & set(groups["heldout"])
    assert {g for names in groups.values() for g in names} == {f"group{i}" for i in range(40)}


@pytest.mark.parametrize("seed", range(5))
def test_no_text_of_an_evaluation_is_a_training_text(seed: int) -> None:
    documents = _documents()
    corpus = split(documents, _sizes(), seed, "here")
    keys = _keys(corpus)
    assert keys["train"]
    assert keys["evaluation"]
    assert not keys["train"] & keys["evaluation"]
    # Nor any text of a training group that the training set has no room for.
    train = {key(s) for d in documents if d.group in corpus.groups["train"] for s in d.sentences}
    assert not train & keys["evaluation"]


def test_texts_come_from_the_groups_of_their_split() -> None:
    documents = _documents()
    corpus = split(documents, _sizes(), 3, "here")
    heldout = {key(s) for d in documents if d.group in corpus.groups["heldout"] for s in d.sentences}
    assert {key(text) for text in corpus.heldout} <= heldout
    assert {key(pair.summary) for pair in corpus.retrieval} <= heldout


def test_texts_of_a_split_are_unique() -> None:
    corpus = split(_documents(), _sizes(), 3, "here")
    for texts in (corpus.train, corpus.validation, corpus.heldout):
        assert len({key(text) for text in texts}) == len(texts)


def test_summaries_and_bodies_of_retrieval_are_each_unique() -> None:
    documents = _documents()
    shared = "the same body of everything and nothing that any group calls its own"
    for i, group in enumerate(sorted({d.group for d in documents})):
        # In each group its own summaries for one body, and one summary for other bodies; bodies differ by group.
        pairs = [Passage(f"summary {i} {j} of it", f"{shared} {i}") for j in range(9)]
        pairs += [Passage(f"one summary {i} for all", f"body {i} {j} of it") for j in range(9)]
        documents += [Document(group, (), pair) for pair in pairs]
    corpus = split(documents, _sizes(retrieval_pairs=50), 3, "here")
    summaries = {key(pair.summary) for pair in corpus.retrieval}
    bodies = {key(pair.body) for pair in corpus.retrieval}
    assert len(summaries) == len(bodies) == len(corpus.retrieval) == 50


def test_a_seed_gives_the_same_split_and_another_seed_another() -> None:
    documents = _documents()
    assert split(documents, _sizes(), 3, "here") == split(documents, _sizes(), 3, "here")
    assert split(documents, _sizes(), 3, "here").groups != split(documents, _sizes(), 4, "here").groups


def test_sizes_are_kept_to() -> None:
    corpus = split(_documents(), _sizes(max_train_texts=50, validation_texts=5, heldout_texts=7), 3, "here")
    assert (len(corpus.train), len(corpus.validation), len(corpus.heldout)) == (50, 5, 7)


@pytest.mark.parametrize("groups", [3, 6, 10, 24])
def test_a_few_groups_of_one_size_fill_every_split(groups: int) -> None:
    corpus = split(_documents(groups, each=120 // groups), _sizes(), 3, "here")
    assert all(corpus.groups[name] for name in ("train", "validation", "heldout"))
    assert len(corpus.groups["train"]) >= groups / 3


def test_all_splits_that_are_too_small_are_named() -> None:
    with pytest.raises(InputError, match="here gives too little text") as caught:
        split(_documents(groups=1), _sizes(), 3, "here")
    assert "heldout: 0 texts, at least 3 needed" in str(caught.value)
    assert "retrieval: 0 texts, at least 10 needed" in str(caught.value)


def test_empty_data_is_an_input_error() -> None:
    with pytest.raises(InputError, match="train: 0 texts, at least 1 needed"):
        split([], _sizes(), 3, "here")
