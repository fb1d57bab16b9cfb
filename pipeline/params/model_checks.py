"""What the blocks of one model must fulfil among each other, whatever its task.

Each check reads the document and not the validated parameters, so that it speaks even where other values are wrong. It
leaves values of a wrong type to the schema.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.layout import LADDER, Variant
from pipeline.params import case_checks
from pipeline.params.quality import QualityCheck
from pipeline.params.words import nearest, show
from pipeline.params.yaml_lines import Document, KeyPath, Problem

# Kinds of sources that show their outputs and no weights.
_BLACK_BOXES = frozenset({"saved_model", "onnx"})


def problems(document: Document, model: KeyPath) -> list[Problem]:
    """Everything in the block at `model` that contradicts something else in it."""
    return [
        *_student(document, model),
        *_black_box(document, model),
        *_ladder_is_there(document, model),
        *_fp32(document, model),
        *_tolerances(document, model),
        *case_checks.problems(document, model),
        *_targets(document, model),
    ]


def reduced_quality(document: Document, model: KeyPath, checks: Sequence[QualityCheck]) -> Iterator[Problem]:
    """Budgets of a precision that the ladder does not make, and precisions that are made and have no budget."""
    ladder = _ladder(document, model)
    quality = (*model, "budgets", "quality")
    if ladder is None or document.get(quality, dict) is None:
        return
    for check in checks:
        path = (*quality, check.key)
        budget = document.get(path, (int, float, str))
        if check.variant is None:
            continue
        if check.variant not in ladder and budget not in (None, "none"):
            message = f"is {show(budget)}, but export.ladder makes no {check.variant}: write `{check.key}: none`"
            yield document.problem(path, message)
        if check.variant in ladder and path not in document.lines:
            message = f"is missing, and export.ladder makes {check.variant}: write a number, or `{check.key}: none`"
            yield document.problem(path, message)


def trained_without_distill(document: Document, model: KeyPath) -> Iterator[tuple[str, str]]:
    """The steps that have a block though `distill` is none, each with half a sentence on why that may not be."""
    distill = (*model, "distill")
    for step in ("prune", "quantize"):
        if _is_none(document, distill) and document.get((*model, step), dict) is not None:
            yield step, f"{step} trains by the recipe of `distill`, which is none{document.mention(distill)}"


def _student(document: Document, model: KeyPath) -> Iterator[Problem]:
    distill, student = (*model, "distill"), (*model, "student")
    has_student = document.get(student, dict) is not None
    left_out = student not in document.lines or document.get(student, str) == "none"
    if _is_none(document, distill) and has_student:
        message = (
            f"distill is none{document.mention(distill)}, so the teacher itself is compressed: write `student: none`"
        )
        yield document.problem(student, message)
    if document.get(distill, dict) is not None and left_out:
        what = "is none" if student in document.lines else "is missing"
        message = f"{what}: write what is distilled into, or `distill: none` to compress the teacher itself"
        yield document.problem(student, message)


def _black_box(document: Document, model: KeyPath) -> Iterator[Problem]:
    path, distill = (*model, "teacher", "sources"), (*model, "distill")
    sources = document.get(path, list) or []
    if _is_none(document, distill) and sources and all(_is_black_box(source) for source in sources):
        message = (
            f"are black boxes, which cannot be exported, and distill is none{document.mention(distill)}: "
            "distil them into a `student`, or name a checkpoint"
        )
        yield document.problem(path, message)


def _is_black_box(source: object) -> bool:
    return isinstance(source, dict) and not _BLACK_BOXES.isdisjoint(source)


def _ladder_is_there(document: Document, model: KeyPath) -> Iterator[Problem]:
    export = document.get((*model, "export"), dict)
    if export and "ladder" not in export and not any(nearest(key, ["ladder"]) for key in export):
        message = "is missing: write the precisions to make, such as `ladder: {fp32: {inference: f32}}`"
        inside = "; the block `int8` belongs into it, with an `inference` of its own" if "int8" in export else ""
        yield document.problem((*model, "export", "ladder"), message + inside)


def _fp32(document: Document, model: KeyPath) -> Iterator[Problem]:
    path = (*model, "export", "ladder")
    ladder = document.get(path, dict)
    if ladder is None or "fp32" in ladder or any(nearest(str(name), ["fp32"]) for name in set(ladder) - set(LADDER)):
        return  # a misspelt fp32 is reported as such, and not as a missing one too
    message = (
        "the ladder skips fp32, against which the quality and the speed of every other step are judged: "
        "write `fp32: {inference: f32}` in it"
    )
    yield document.problem((*path, "fp32"), message)


def _tolerances(document: Document, model: KeyPath) -> Iterator[Problem]:
    path, ladder_path = (*model, "verify", "tolerances"), (*model, "export", "ladder")
    given, ladder = document.get(path, dict), _ladder(document, model)
    if given is None or ladder is None or not set(given) <= set(Variant):
        return  # a misspelt variant is reported as such, and not as a missing one too
    made = [Variant.TEACHER, *(step for step in LADDER if step in ladder)]
    for variant in given:
        if variant not in made and variant != Variant.FP32:
            message = f"is for {variant}, which export.ladder{document.mention(ladder_path)} does not make: remove it"
            yield document.problem((*path, variant), message)
    for variant in made:
        if variant not in given:
            maker = f"export.ladder{document.mention((*ladder_path, variant))}" if variant.is_student else "export"
            message = f"is missing, and {maker} makes {variant}: write its mean_cosine and max_abs_error"
            yield document.problem((*path, variant), message)


def _targets(document: Document, model: KeyPath) -> Iterator[Problem]:
    for quantity in ("params", "macs"):
        path, budget_path = (*model, "prune", f"max_{quantity}"), (*model, "budgets", quantity)
        target, budget = document.get(path, int), document.get(budget_path, (int, float))
        if target is not None and budget is not None and 0 < budget < target:
            message = (
                f"is {target}, above budgets.{quantity}, which is {budget}{document.mention(budget_path)}: "
                "the target does not fit its budget; lower the target or raise the budget"
            )
            yield document.problem(path, message)


def _ladder(document: Document, model: KeyPath) -> dict[str, Any] | None:
    """The ladder, where all its steps are known: a misspelt one is reported as such, and not as a missing one too."""
    ladder: dict[str, Any] | None = document.get((*model, "export", "ladder"), dict)
    return ladder if ladder is not None and set(ladder) <= set(LADDER) else None


def _is_none(document: Document, path: KeyPath) -> bool:
    return bool(document.get(path, str) == "none")
