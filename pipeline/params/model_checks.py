"""What the blocks of one model must fulfil among each other, whatever its task.

Each check reads the document and not the validated parameters, so that it speaks even where other values are wrong. It
leaves values of a wrong type to the schema.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from pipeline.layout import Engine, Variant
from pipeline.params.quality import QualityCheck
from pipeline.params.words import hint, nearest, show
from pipeline.params.yaml_lines import Document, KeyPath, Problem

_STEPS = tuple(variant for variant in Variant if variant.is_student)


def problems(document: Document, model: KeyPath) -> Iterator[Problem]:
    """Everything in the block at `model` that contradicts something else in it."""
    checks: Sequence[Callable[[Document, KeyPath], Iterator[Problem]]] = (
        _student, _training, _fp32, _tolerances, _one_kind_of_case, _batches, _latencies, _targets,
    )  # fmt: skip
    return chain.from_iterable(check(document, model) for check in checks)


def judged_cases(document: Document, model: KeyPath) -> list[KeyPath]:
    """Where the cases stand whose latency is judged: `budgets.case`, or each of `budgets.cases`."""
    budgets = (*model, "budgets")
    single = [(*budgets, "case")] if document.get((*budgets, "case"), dict) else []
    return single + [(*budgets, "cases", name) for name in document.get((*budgets, "cases"), dict) or {}]


def reduced_quality(document: Document, model: KeyPath, checks: Sequence[QualityCheck]) -> Iterator[Problem]:
    """Budgets of a precision that the ladder does not make, and precisions that are made and have no budget."""
    ladder = document.get((*model, "export", "ladder"), dict)
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


def _student(document: Document, model: KeyPath) -> Iterator[Problem]:
    distill, student = (*model, "distill"), (*model, "student")
    has_student = document.get(student, dict) is not None
    left_out = student not in document.lines or document.get(student, str) == "none"
    if _is_none(document, distill) and has_student:
        message = (
            f"distill is none{_line(document, distill)}, so the teacher itself is compressed: write `student: none`"
        )
        yield document.problem(student, message)
    if document.get(distill, dict) is not None and left_out:
        what = "is none" if student in document.lines else "is missing"
        message = f"{what}: write what is distilled into, or `distill: none` to compress the teacher itself"
        yield document.problem(student, message)


def _training(document: Document, model: KeyPath) -> Iterator[Problem]:
    """Later steps train with the settings of `distill`."""
    distill = (*model, "distill")
    for step in ("prune", "quantize"):
        epochs = document.get((*model, step, "epochs"), (int, float))
        if epochs and _is_none(document, distill):
            message = (
                f"is {epochs:g}, but {step} trains with the batch_size and the loss of `distill`, which is none"
                f"{_line(document, distill)}: write `{step}: none`"
            )
            yield document.problem((*model, step, "epochs"), message)


def _fp32(document: Document, model: KeyPath) -> Iterator[Problem]:
    path = (*model, "export", "ladder")
    ladder = document.get(path, dict)
    if ladder is None or "fp32" in ladder or any(nearest(str(name), ["fp32"]) for name in set(ladder) - set(_STEPS)):
        return  # a misspelt fp32 is reported as such, and not as a missing one too
    message = (
        "the ladder skips fp32, against which the quality and the speed of every other step are judged: "
        "write `fp32: {inference: f32}` in it"
    )
    yield document.problem((*path, "fp32"), message)


def _tolerances(document: Document, model: KeyPath) -> Iterator[Problem]:
    path, ladder_path = (*model, "verify", "tolerances"), (*model, "export", "ladder")
    given, ladder = document.get(path, dict), document.get(ladder_path, dict)
    if given is None or ladder is None or not set(given) <= set(Variant):
        return  # a misspelt variant is reported as such, and not as a missing one too
    made = [Variant.TEACHER, *(step for step in _STEPS if step in ladder)]
    for variant in given:
        if variant not in made and variant != Variant.FP32:
            message = f"is for {variant}, which export.ladder{_line(document, ladder_path)} does not make: remove it"
            yield document.problem((*path, variant), message)
    for variant in made:
        if variant not in given:
            maker = f"export.ladder{_line(document, (*ladder_path, variant))}" if variant.is_student else "export"
            message = f"is missing, and {maker} makes {variant}: write its mean_cosine and max_abs_error"
            yield document.problem((*path, variant), message)


def _one_kind_of_case(document: Document, model: KeyPath) -> Iterator[Problem]:
    budgets = (*model, "budgets")
    block = document.get(budgets, dict)
    if block is None:
        return
    if "case" in block and "cases" in block:
        message = f"stands beside `case`{_line(document, (*budgets, 'case'))}: write one of the two"
        yield document.problem((*budgets, "cases"), message)
    elif block.get("cases") == {}:
        yield document.problem((*budgets, "cases"), "names no case: write at least one, or `case`")
    elif "case" not in block and "cases" not in block and not any(nearest(str(key), ["case"]) for key in block):
        yield document.problem(budgets, "has neither `case` nor `cases`: write the case that latency is judged in")


def _batches(document: Document, model: KeyPath) -> Iterator[Problem]:
    throughput = document.get((*model, "export", "batch"), int)
    for case in judged_cases(document, model):
        batch = document.get((*case, "batch"), int)
        if batch is not None and throughput is not None and batch not in (1, throughput):
            message = f"is {batch}, a shape that is not exported: use 1 or {throughput} (export.batch)"
            yield document.problem((*case, "batch"), message)


def _latencies(document: Document, model: KeyPath) -> Iterator[Problem]:
    budgets = (*model, "budgets")
    cases = document.get((*budgets, "cases"), dict)
    is_single = document.get((*budgets, "case"), dict) is not None
    for engine in Engine:
        path = (*budgets, engine.value, "p95_ms")
        given = document.get(path, (int, float, dict))
        if isinstance(given, dict) and is_single and not cases:
            message = f"has names, but there is one `case`{_line(document, (*budgets, 'case'))}: write one number"
            yield document.problem(path, message)
        elif isinstance(given, dict) and cases:
            yield from _named_latencies(document, path, given, cases)
        elif given is not None and cases and not is_single:
            example = ", ".join(f"{name}: {given}" for name in cases)
            yield document.problem(path, f"is one number, but there are several cases: write `{{{example}}}`")


def _named_latencies(
    document: Document, path: KeyPath, given: Mapping[str, object], cases: Mapping[str, object]
) -> Iterator[Problem]:
    missing = [name for name in cases if name not in given]
    for name in given:
        if name not in cases:
            yield document.problem(
                (*path, name), f"'{name}' is no case of budgets.cases; {hint(name, missing or cases)}"
            )
            missing = [other for other in missing if other != nearest(name, missing)]
    if missing:
        lacking = ", ".join(missing)
        yield document.problem(path, f"lacks {lacking} of budgets.cases: write a number or `none` for each case")


def _targets(document: Document, model: KeyPath) -> Iterator[Problem]:
    for quantity in ("params", "macs"):
        path, budget_path = (*model, "prune", f"max_{quantity}"), (*model, "budgets", quantity)
        target, budget = document.get(path, int), document.get(budget_path, (int, float))
        if target is not None and budget is not None and target > budget:
            message = (
                f"is {target}, above budgets.{quantity}, which is {budget:g}{_line(document, budget_path)}: "
                "the target does not fit its budget; lower the target or raise the budget"
            )
            yield document.problem(path, message)


def _is_none(document: Document, path: KeyPath) -> bool:
    return bool(document.get(path, str) == "none")


def _line(document: Document, path: KeyPath) -> str:
    return f" (line {document.line(path)})"
