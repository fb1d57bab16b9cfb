from importlib import metadata
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.text import docstrings

_LOCK = Path(__file__).parents[2] / "data" / "corpus.lock"


def test_docstrings_of_module_classes_and_functions_are_found() -> None:
    source = '''
"""Of the module."""
class A:
    """Of a class."""
    async def f(self):
        """Of a method."""
        def inner():
            """Of an inner function."""
if True:
    def g():
        """Under a condition."""
x = """No docstring."""
'''
    assert set(docstrings.docstrings(source)) == {
        "Of the module.",
        "Of a class.",
        "Of a method.",
        "Of an inner function.",
        "Under a condition.",
    }


def test_pins_are_sorted_and_comments_skipped(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# made by pip\nTyper==1.2 \\\n    --hash=sha256:0\nabc==3 ; python_version > '3'\n-e .\n")
    assert docstrings.pinned(lock) == [("abc", "3"), ("typer", "1.2")]


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match=r"corpus\.lock pins no-such-package==1, which is not installed"):
        docstrings.python_files("no-such-package", "1", _LOCK)


def test_another_version_is_named_with_both() -> None:
    installed = metadata.version("typer")
    with pytest.raises(InputError, match=f"pins typer==0.0.1, but {installed} is installed"):
        docstrings.python_files("typer", "0.0.1", _LOCK)


def test_files_are_sorted_and_a_local_version_counts_as_the_same() -> None:
    files = docstrings.python_files("typer", metadata.version("typer") + "+cpu", _LOCK)
    assert files == sorted(files)
    assert "main.py" in {path.name for path in files}


def test_two_readings_of_a_lock_are_the_same(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"typer=={metadata.version('typer')}\n")
    documents = docstrings.read_documents(lock, processes=1)
    assert len(documents) > 10
    assert {document.group for document in documents} == {"typer"}
    assert docstrings.read_documents(lock, processes=2) == documents


def test_a_broken_file_is_skipped(tmp_path: Path) -> None:
    broken, good = tmp_path / "broken.py", tmp_path / "good.py"
    broken.write_text('def f(:\n    """Never read at all."""\n')
    good.write_text('"""Reads the lines of a file."""\n')
    documents = docstrings._read_files([("p", broken), ("p", tmp_path / "missing.py"), ("p", good)])
    assert [document.sentences for document in documents] == [("Reads the lines of a file.",)]


def test_the_corpus_is_of_packages_that_the_project_installs() -> None:
    installed = set(docstrings.pinned(_LOCK.parents[1] / "requirements.lock"))
    assert [pin for pin in docstrings.pinned(_LOCK) if pin not in installed] == []
