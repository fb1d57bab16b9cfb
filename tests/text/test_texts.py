import pytest

from pipeline.text.texts import clean, read_docstring, split_sentences

_BODY = "It opens the file, walks over every line, drops those that hold a comment, and gives the rest to the caller."


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        ("see :class:`~pathlib.Path` here", "see pathlib.Path here"),
        ("see :py:func:`open <io.open>` here", "see open here"),
        ("a ``literal`` and a `link <http://x>`_", "a literal and a link"),
        ("**bold**\n   and\ttabs ", "bold and tabs"),
    ],
)
def test_clean_drops_markup_and_folds_white_space(markup: str, plain: str) -> None:
    assert clean(markup) == plain


def test_sentences_have_4_to_60_words_that_are_letters() -> None:
    long = "Word " * 60 + "end."
    text = f"Too short here. This one has five words. A 12 34 56 78 90 number. Another sentence that is kept. {long}"
    assert list(split_sentences(text)) == ["This one has five words.", "Another sentence that is kept."]


def test_a_docstring_gives_sentences_and_a_pair_without_its_code() -> None:
    docstring = f"""Read the lines of a file.

    {_BODY}

    Usage of it
    -----------

    >>> read("a.txt")
    ['a']

        indented code with many words in it
    """
    document = read_docstring("package", docstring)
    assert document is not None
    assert document.group == "package"
    assert document.sentences == ("Read the lines of a file.", _BODY)
    assert document.passage is not None
    assert (document.passage.summary, document.passage.body) == ("Read the lines of a file.", _BODY)


def test_a_body_is_cut_to_120_words() -> None:
    document = read_docstring("package", "Read the lines of a file.\n\n" + "many words " * 100)
    assert document is not None
    assert document.passage is not None
    assert len(document.passage.body.split()) == 120


def test_a_short_body_makes_no_pair() -> None:
    document = read_docstring("package", "Read the lines of a file.\n\nThe body is too short.")
    assert document is not None
    assert document.passage is None


@pytest.mark.parametrize("docstring", ["", "   \n", ">>> 1 + 1\n2", "x = 3", "Two words"])
def test_what_is_no_prose_gives_nothing(docstring: str) -> None:
    assert read_docstring("package", docstring) is None
