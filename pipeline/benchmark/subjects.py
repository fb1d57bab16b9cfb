"""What is measured: the exported variants of a model, checked against their checksums, with their cases."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from pipeline.errors import IntegrityError
from pipeline.files import sha256
from pipeline.layout import Variant
from pipeline.records.export import FileFacts
from pipeline.records.verification import CaseEntry, JudgedCase, Verification, VerifiedVariant
from pipeline.runtime.session import Precision

Threads = int | Literal["all"]


@dataclass(frozen=True)
class Budgeted:
    """A case that has budgets.

    Attributes:
        budget: its name in `budgets.cases`; "" for a single `budgets.case`.
        case: the name of the case that has its shape.
        threads: the threads setting that it is judged with.
    """

    budget: str
    case: str
    threads: Threads


@dataclass(frozen=True)
class Subject:
    """One variant and the cases that it is measured in.

    Attributes:
        path: the file that the engine opens.
        inputs: safetensors file with arrays `<case>.<input>` and `<case>.before.<input>`.
        cases: from the smallest to the largest, so that each one's peak memory is its own.
        budgeted: the cases that are judged; together they get half of the variant's time.
        threads: thread settings to measure.
    """

    model: str
    engine: str
    variant: str
    path: Path
    inputs: Path
    precision: Precision
    cases: tuple[CaseEntry, ...]
    budgeted: tuple[Budgeted, ...]
    threads: tuple[Threads, ...]

    @property
    def name(self) -> str:
        """`model.engine.variant`."""
        return f"{self.model}.{self.engine}.{self.variant}"

    def budgets_of(self, case: CaseEntry) -> tuple[Budgeted, ...]:
        """The budgets' cases that have the shape of `case`."""
        return tuple(one for one in self.budgeted if one.case == case.name)

    def seconds(self, case: CaseEntry, block_seconds: float) -> float:
        """Seconds of a block of `case`: the judged cases share half of the round, the others the rest."""
        is_judged = bool(self.budgets_of(case))
        sharing = [one for one in self.cases if bool(self.budgets_of(one)) == is_judged]
        return block_seconds / 2 / len(sharing)


def read_subjects(verification_path: Path, inputs_path: Path, root: Path) -> list[Subject]:
    """Read a model's verify.json and check every file that it names.

    The teacher only serves to compare speed and memory. So it is measured in the judged cases alone, with the threads
    that are judged. A teacher that is compressed as it is has no export of its own: where there is something smaller,
    its fp32 takes that place.

    Args:
        verification_path: `artifacts/fleet/<model>/verify.json`.
        inputs_path: `artifacts/fleet/<model>/inputs.safetensors`.
        root: folder that the paths in verify.json are relative to.

    Raises:
        IntegrityError: verify.json is damaged, a file is missing or differs from its checksum, or a judged case is
            none of those that are measured.
    """
    verification = Verification.read(verification_path)
    cases = sorted(verification.cases, key=lambda case: prod(max(size, 1) for size in case.shape.values()))
    budgeted = tuple(
        Budgeted(name, _case_of(judged, cases, name, verification_path), judged.threads)
        for name, judged in verification.judged.items()
    )
    if problems := [p for one in verification.variants for p in check_files(root / one.path, one.files)]:
        raise IntegrityError("\n".join(problems))
    is_the_teacher = [step.step for step in verification.steps] == ["teacher"]
    smaller = {one.engine for one in verification.variants if one.variant.is_reduced}

    def is_compared(one: VerifiedVariant) -> bool:
        stands_in = one.variant is Variant.FP32 and is_the_teacher and one.engine in smaller
        return one.variant is Variant.TEACHER or stands_in

    return [
        _subject(verification.model, one, cases, budgeted, inputs_path, root, is_compared(one))
        for one in verification.variants
    ]


def check_files(path: Path, files: Mapping[str, FileFacts]) -> list[str]:
    """Compare the files of a variant, all beside `path`, with their SHA-256; return what is wrong."""
    problems = []
    for name, expected in files.items():
        file = path.parent / name
        if not file.is_file():
            problems.append(f"{file} is missing: run `dvc repro` (or `dvc pull`)")
        elif (observed := sha256(file)) != expected.sha256:
            problems.append(
                f"{file} has SHA-256 {observed}, but {expected.sha256} was verified: "
                "it was changed after the export, `dvc repro` makes it anew"
            )
    return problems


def _subject(
    model: str,
    variant: VerifiedVariant,
    cases: list[CaseEntry],
    budgeted: tuple[Budgeted, ...],
    inputs: Path,
    root: Path,
    is_compared: bool,
) -> Subject:
    judged_threads = dict.fromkeys(one.threads for one in budgeted)
    judged_names = {one.case for one in budgeted}
    return Subject(
        model=model,
        engine=variant.engine.value,
        variant=variant.variant.value,
        path=root / variant.path,
        inputs=inputs,
        precision=Precision(**variant.precision.model_dump()),
        cases=tuple(case for case in cases if not is_compared or case.name in judged_names),
        budgeted=budgeted,
        threads=tuple(judged_threads) if is_compared else tuple(dict.fromkeys((1, "all", *judged_threads))),
    )


def _case_of(judged: JudgedCase, cases: list[CaseEntry], name: str, path: Path) -> str:
    """The name of the smallest case with the sizes that are judged."""
    for case in cases:
        if all(case.shape.get(axis) == size for axis, size in judged.shape.items()):
            return case.name
    key = f"budgets.cases.{name}" if name else "budgets.case"
    wanted = ", ".join(f"{axis} {size}" for axis, size in judged.shape.items())
    has = ", ".join(case.name for case in cases) or "none"
    raise IntegrityError(f"{path}: {key} asks for {wanted}, which is no case of the model: it has {has}")
