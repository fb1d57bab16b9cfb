"""Contradictions in the blocks of a language model: named with line and advice, before anything runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.params.file import load_params
from tests.params.conftest import edited
from tests.params.edits import Edit, line_of, problems_of, replaced, the_problem

__all__ = ["edited"]

BARD, CHAT = "models.bard", "models.bard-chat"


def product(name: str) -> str:
    """The lines of a product in the shipped params.yaml."""
    text = replaced(())
    return text[text.index(f"  {name}:\n    task") :].partition("\n\n")[0]


@pytest.fixture
def change(edited: Edit) -> Callable[..., Path]:
    """Write a copy of the shipped file with some text of one product replaced."""

    def write(name: str, *changes: tuple[str, str]) -> Path:
        block = product(name)
        new = block
        for old, text in changes:
            assert old in new, f"{name} has no {old!r}: adapt the test"
            new = new.replace(old, text, 1)
        return edited((block, new))

    return write


Change = Callable[..., Path]
LABEL = product("bard")[product("bard").index("      label:\n") : product("bard").index("    student:")]
DISTILL = product("bard")[product("bard").index("    distill:\n") : product("bard").index("    prune:")]
STUDENT = product("bard")[product("bard").index("    student:\n") : product("bard").index("    distill:")]


def test_an_answer_needs_calls_of_one_token(change: Change) -> None:
    path = change("bard-chat", ("tokens: [1, 32, 128]", "tokens: [16, 32, 128]"))
    assert the_problem(path, "tokens: [16, 32, 128]", f"{CHAT}.export.tokens") == (
        "lacks 1: an answer is made token by token; add it"
    )


def test_a_judged_prompt_fits_into_the_largest_cache(change: Change) -> None:
    path = change("bard-chat", ("tokens: 128, before: 0", "tokens: 1025, before: 0"))
    assert the_problem(path, "tokens: 1025", f"{CHAT}.budgets.cases.prompt.tokens") == (
        "is 1025, but the largest of export.caches holds 1024"
    )
    assert load_params(change("bard-chat", ("tokens: 128, before: 0", "tokens: 1024, before: 0")))


def test_a_judged_token_fits_in_behind_those_before_it(change: Change) -> None:
    path = change("bard-chat", ("before: 128", "before: 1024"))
    assert the_problem(path, "before: 1024", f"{CHAT}.budgets.cases.token.before") == (
        "is 1024, so the case ends at 1025, but the largest of export.caches holds 1024"
    )
    assert load_params(change("bard-chat", ("before: 128", "before: 1023")))


def test_the_largest_cache_holds_the_texts_of_verify(change: Change) -> None:
    small = ("before: 128", "before: 20"), ("tokens: 128, before: 0", "tokens: 32, before: 0")
    path = change("bard", ("caches: [256, 512]", "caches: [32, 55]"), *small)
    assert the_problem(path, "caches: [32, 55]", f"{BARD}.export.caches") == (
        "goes up to 55, but verify reads texts of 56 tokens: add a larger size"
    )
    assert load_params(change("bard", ("caches: [256, 512]", "caches: [32, 56]"), *small))


def test_a_student_needs_the_block_that_names_its_vocabulary(change: Change) -> None:
    path = change("bard", (LABEL, "      label: none    # nothing\n"))
    assert the_problem(path, "label: none    # nothing", f"{BARD}.teacher.label") == (
        "is none, but `distill` trains a student, whose vocabulary stands there: write the block"
    )


def test_nothing_is_labelled_where_nothing_is_trained(change: Change) -> None:
    path = change("bard", (STUDENT, "    student: none\n"), (DISTILL, "    distill: none    # nothing\n"))
    none = line_of(path, "distill: none    # nothing")
    label = next(
        number for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line == "      label:"
    )
    assert problems_of(path) == [
        f"params.yaml:{label}: {BARD}.teacher.label: labels texts for a student, but distill is none (line {none}): "
        "write `label: none`"
    ]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("batch: 1", "batch: 2", "export.batch"),
        ("tokens: [1, 32, 128]", "tokens: []", "export.tokens"),
        ("share_of_files: 0.1", "share_of_files: 0", "data.share_of_files"),
        ("prune: none", "prune: {epochs: 1}", "prune"),
        ("int8_bits_growth: 0.01", "int8_bits_growth: -0.01", "budgets.quality.int8_bits_growth"),
    ],
)
def test_values_that_a_language_model_does_not_take_are_named_with_their_line(
    old: str, new: str, key: str, change: Change
) -> None:
    path = change("bard-chat", (old, f"{new}   # changed"))
    [problem] = problems_of(path)
    assert problem.startswith(f"params.yaml:{line_of(path, '# changed')}: {CHAT}.{key}")


def test_a_ladder_with_int4_needs_its_budget_of_growth(change: Change) -> None:
    path = change("bard-chat", ("        int4_bits_growth: 0.04\n", ""))
    [problem] = problems_of(path)
    assert f"{CHAT}.budgets.quality.int4_bits_growth: is missing" in problem
