"""Turning documentation prose into sentences and passages, and what a corpus consists of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc

_MIN_WORDS, _MAX_WORDS = 4, 60
_MIN_BODY_WORDS, _MAX_BODY_WORDS = 15, 120
_MIN_LETTERS = 0.7
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`\"'(])")
_MARKUP = re.compile(
    r":[a-zA-Z:]+:`~?([^`<]*?)(?:\s*<[^>`]*>)?`|``([^`]*)``|`([^`<]*?)(?:\s*<[^>`]*>)?`_{0,2}|\*\*([^*]*)\*\*"
)
_NOT_PROSE = re.compile(
    r"^(>>>|\.\.\s|\.\.$|@|:[a-z]+[^:]*:|[-=~^*#+|]{3,}|\||\$ |[A-Za-z_]+\s*[=(\[{]|\d+[.)]\s*$|[-*] )"
)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Passage:
    """One docstring as a retrieval pair: the summary line must find the body."""

    summary: str
    body: str


@dataclass(frozen=True)
class Document:
    """What one docstring gives: prose sentences, and a summary with its body where it has both."""

    group: str
    sentences: tuple[str, ...]
    passage: Passage | None


def read_docstring(group: str, docstring: str) -> Document | None:
    """Split a docstring into prose; None where nothing of it is prose.

    `group` names what must stay together in a split (for docstrings their package).
    """
    paragraphs = list(_prose_paragraphs(cleandoc(docstring)))
    if not paragraphs:
        return None
    sentences = tuple(s for paragraph in paragraphs for s in split_sentences(paragraph))
    if not sentences:
        return None
    return Document(group, sentences, _passage(paragraphs))


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of `text` that are prose: 4 to 60 words, mostly letters."""
    for sentence in _SENTENCE_END.split(text):
        words = sentence.count(" ") + 1
        if _MIN_WORDS <= words <= _MAX_WORDS and _is_prose(sentence):
            yield sentence


def first_and_rest(text: str) -> tuple[str, str]:
    """The first sentence and what follows it, which may be empty."""
    first, *rest = _SENTENCE_END.split(text)
    return first, " ".join(rest)


def clean(text: str) -> str:
    """Drop reStructuredText roles and quotes, and fold white space."""
    plain = _MARKUP.sub(lambda match: next(group for group in match.groups() if group is not None), text)
    return _SPACES.sub(" ", plain).strip()


def _prose_paragraphs(docstring: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", docstring):
        lines = block.strip("\n").split("\n")
        # Indented lines are code or argument lists; an underline marks a heading.
        if any(line.startswith((" ", "\t")) or _NOT_PROSE.match(line) for line in lines):
            continue
        paragraph = clean(block)
        if _is_prose(paragraph) and paragraph.count(" ") + 1 >= _MIN_WORDS:
            yield paragraph


def _is_prose(text: str) -> bool:
    letters = sum(character.isalpha() or character == " " for character in text)
    return letters >= _MIN_LETTERS * len(text)


def _passage(paragraphs: list[str]) -> Passage | None:
    """The first sentence as summary, the rest of the prose as body."""
    first = _SENTENCE_END.split(paragraphs[0])
    body = " ".join([" ".join(first[1:]), *paragraphs[1:]]).strip()
    words = body.split(" ")
    summary_words = first[0].count(" ") + 1
    if not _MIN_WORDS <= summary_words <= _MAX_WORDS or len(words) < _MIN_BODY_WORDS:
        return None
    return Passage(first[0], " ".join(words[:_MAX_BODY_WORDS]))
