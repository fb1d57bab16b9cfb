"""What is measured: the exported variants of a model, checked against their checksums, with their cases."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import IntegrityError
from pipeline.files import read_json, sha256
from pipeline.layout import Variant

Threads = int | Literal["all"]


@dataclass(frozen=True)
class Case:
    """One shape of input: the size of each axis that varies, `batch` first."""

    name: str
    shape: Mapping[str, int]

    @property
    def batch(self) -> int:
        """Rows of a run."""
        return self.shape["batch"]

    @property
    def size(self) -> int:
        """Product of the sizes, to sort by."""
        return prod(self.shape.values())


@dataclass(frozen=True)
class Subject:
    """One variant and the cases that it is measured in.

    Attributes:
        path: the file that the engine opens.
        inputs: safetensors file with arrays `<case>.<input>`.
        cases: from the smallest to the largest, so that each one's peak memory is its own.
        reference: the case that is judged; it gets half of the variant's time.
        threads: thread settings to measure.
    """

    model: str
    engine: str
    variant: str
    path: Path
    inputs: Path
    cases: tuple[Case, ...]
    reference: Case
    threads: tuple[Threads, ...]

    @property
    def name(self) -> str:
        """`model.engine.variant`."""
        return f"{self.model}.{self.engine}.{self.variant}"

    def seconds(self, case: Case, block_seconds: float) -> float:
        """Seconds of a block of `case`: half of the round for the reference, the rest in equal parts."""
        if case is self.reference or len(self.cases) == 1:
            return block_seconds / 2
        return block_seconds / 2 / (len(self.cases) - 1)


def read_subjects(variants_path: Path, inputs_path: Path, root: Path) -> list[Subject]:
    """Read a model's variants.json and check every file that it names.

    The teacher is the reference for speed and memory alone: it is measured only in the reference case, with
    the threads that are judged.

    Args:
        variants_path: `artifacts/fleet/<model>/variants.json`. Its `budget_case` (the axes and `threads`) is the
            reference case; without it, or where it is not there, the smallest with one thread.
        inputs_path: `artifacts/fleet/<model>/inputs.safetensors`.
        root: folder that the paths in variants.json are relative to.

    Raises:
        IntegrityError: a file is missing or differs from its checksum, or the JSON lacks a field.
    """
    entry = read_json(variants_path)
    try:
        cases = sorted((_case(c) for c in entry["cases"]), key=lambda case: case.size)
        reference, judged = _reference(cases, entry.get("budget_case"))
        problems = [p for v in entry["variants"] for p in check_files(root / v["path"], v["files"])]
        subjects = [
            Subject(
                model=entry["model"],
                engine=v["engine"],
                variant=v["variant"],
                path=root / v["path"],
                inputs=inputs_path,
                cases=(reference,) if v["variant"] == Variant.TEACHER else tuple(cases),
                reference=reference,
                threads=(judged,) if v["variant"] == Variant.TEACHER else tuple(dict.fromkeys((1, "all", judged))),
            )
            for v in entry["variants"]
        ]
    except (KeyError, TypeError, IndexError) as error:
        raise IntegrityError(f"{variants_path}: {type(error).__name__} {error}: `dvc repro` makes it anew") from error
    if problems:
        raise IntegrityError("\n".join(problems))
    return subjects


def check_files(path: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare the files of a variant, all beside `path`, with their SHA-256; return what is wrong."""
    problems = []
    for name, expected in files.items():
        file = path.parent / name
        if not file.is_file():
            problems.append(f"{file} is missing: run `dvc repro` (or `dvc pull`)")
        elif (observed := sha256(file)) != expected["sha256"]:
            problems.append(
                f"{file} has SHA-256 {observed}, but {expected['sha256']} was verified: "
                "it was changed after the export, `dvc repro` makes it anew"
            )
    return problems


def _case(entry: Mapping[str, Any]) -> Case:
    return Case(entry["name"], {axis: size for axis, size in entry.items() if axis != "name"})


def _reference(cases: list[Case], wanted: Mapping[str, Any] | None) -> tuple[Case, Threads]:
    """The case that is judged, and its thread setting."""
    chosen = wanted or {"threads": 1}
    exact = [case for case in cases if all(chosen.get(axis) == size for axis, size in case.shape.items())]
    return (exact or cases)[0], chosen["threads"]
