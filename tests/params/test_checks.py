"""Blocks of params.yaml that contradict each other: named with line and advice, before anything runs."""

import json

import pytest
from pydantic import ValidationError

from pipeline.layout import Variant
from pipeline.params import tasks, yaml_lines
from pipeline.params.file import load_params
from tests.params.edits import MODEL, SHIPPED, Edit, line_of, problems_of, replaced, shipped_line, the_problem


def block(name: str) -> str:
    """The lines of a block of the shipped docs-embed, with its name."""
    lines = replaced(()).split("  docs-embed:\n")[1].splitlines(keepends=True)
    start = lines.index(f"    {name}:\n")
    end = next(i for i, line in enumerate(lines) if i > start and not line.startswith("     "))
    return "".join(lines[start:end])


CASE = block("budgets").split("      params:")[0].removeprefix("    budgets:\n")
CASES = (
    "      case: none\n"
    "      cases:\n"
    "        short: {batch: 1, length: 16, threads: 1}\n"
    "        long: {batch: 8, length: 128, threads: all}\n"
)
# A number of its own for each case, on every engine.
P95 = {"onnxruntime": 8, "openvino": 8, "tflite": 10}
NAMED = tuple(
    (f"{engine}: {{p95_ms: {number},", f"{engine}: {{p95_ms: {{short: {number}, long: none}},")
    for engine, number in P95.items()
)
INT8 = "        int8:\n          inference: f32\n          tolerance: 0.01 "
INT4 = "        int4: {inference: f32, tolerance: 0.02, max_float_layers: 8}\n"
TOLERANCE = "        int8: {mean_cosine: 0.97, max_abs_error: 0.15}\n"


def test_a_model_of_the_fleet_must_be_in_the_catalogue(edited: Edit) -> None:
    path = edited(("  docs-embed: sentence", "  docs-embd: sentence"))
    message = the_problem(path, "docs-embd", "fleet.docs-embd")
    assert message == "'docs-embd' is not in `models`; did you mean 'docs-embed'?"


def test_a_model_stands_in_the_fleet_once(edited: Edit) -> None:
    entry = "  docs-embed: sentence_embedding\n"
    path = edited((entry, entry + entry))
    first = line_of(path, entry.strip())
    [problem] = problems_of(path)
    assert problem == (
        f"params.yaml:{first + 1}: fleet.docs-embed: written twice, in line {first} and in line {first + 1}: keep one"
    )


@pytest.mark.parametrize("name", ["Docs", "docs_embed", "-docs", "a.b", "fleet", "raw"])
def test_names_of_models_are_plain_and_free(edited: Edit, name: str) -> None:
    path = edited(("  docs-embed: sentence", f"  {name}: sentence"), ("  docs-embed:\n", f"  {name}:\n"))
    assert [problem.split(": ")[1] for problem in problems_of(path)] == [f"models.{name}"]


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        (
            "length: 32,",
            "length: 33,",
            "budgets.case.length",
            "is 33, a shape that is not exported: export.lengths has 16, 32, 64, 128",
        ),
        (
            "case: {batch: 1",
            "case: {batch: 3",
            "budgets.case.batch",
            "is 3, a shape that is not exported: use 1 or 8 (export.batch)",
        ),
        ("lengths: [16, 32, 64, 128]", "lengths: [16, 32, 256]", "student.max_tokens", "export.lengths goes up to 256"),
        ("lengths: [16, 32, 64, 128]", "lengths: [16, 32, 32]", "export.lengths", "has 32 more than once"),
        ("train_tokens: 64", "train_tokens: 512", "teacher.train_tokens", "but the student takes 128"),
        ("heads: 5", "heads: 7", "student", "hidden_dim 160 is not a multiple of heads 7"),
        ("retrieval_pairs: 2500", "retrieval_pairs: 0", "budgets.quality.recall_at_1_kept", "retrieval_pairs is 0"),
    ],
)
def test_blocks_that_contradict_each_other_are_named(edited: Edit, old: str, new: str, key: str, message: str) -> None:
    [problem] = problems_of(edited((old, new)))
    assert f": {MODEL}.{key}: " in problem
    assert message in problem


def test_a_toolchain_without_an_engine_is_named(edited: Edit) -> None:
    path = edited(("  openvino:\n    torch: 2.13.0\n    openvino: 2026.4.1\n    nncf: 3.4.0\n", ""))
    assert the_problem(path, "toolchain:", "toolchain").startswith("lacks openvino;")


def test_a_fleet_as_a_list_says_how_the_mapping_is_written(edited: Edit) -> None:
    fleet = replaced(()).split("fleet:\n")[1].split("\n\n")[0]
    path = edited((fleet, "  - docs-embed\n  - nobody"))
    assert the_problem(path, "fleet:", "fleet") == (
        "is a list, but each model stands here with its task, one a line and without a dash: "
        "`docs-embed: sentence_embedding`; `nobody: TASK`"
    )


@pytest.mark.parametrize("empty", ["fleet:\n", "fleet: {}\n", "fleet: []\n"])
def test_an_empty_fleet_is_named(edited: Edit, empty: str) -> None:
    fleet = replaced(()).split("fleet:\n")[1].split("\n\n")[0]
    assert the_problem(edited((f"fleet:\n{fleet}\n", empty)), "fleet:", "fleet") == (
        "names no model: write at least one of `models`, such as `docs-embed: sentence_embedding`"
    )


def test_a_task_in_the_fleet_is_that_of_the_model(edited: Edit) -> None:
    path = edited(("docs-embed: sentence_embedding", "docs-embed: image_classification"))
    assert the_problem(path, "docs-embed: image", "fleet.docs-embed") == (
        f"says image_classification, but {MODEL}.task (line {line_of(path, '    task: sentence')}) "
        "is sentence_embedding: write that"
    )


def test_an_unknown_task_of_a_model_is_suggested_and_its_blocks_are_left_alone(edited: Edit) -> None:
    path = edited(
        ("docs-embed: sentence_embedding", "docs-embed: sentence_embeding"),
        ("    task: sentence_embedding", "    task: sentence_embeding"),
    )
    message = the_problem(path, "    task: sentence_embeding", f"{MODEL}.task")
    assert message == "is the text 'sentence_embeding', which is no task; did you mean 'sentence_embedding'?"


def test_a_model_without_a_task_is_one_problem(edited: Edit) -> None:
    path = edited(("    task: sentence_embedding\n", ""))
    line = line_of(path, "    data:") - 1
    assert problems_of(path) == [
        f"params.yaml:{line}: {MODEL}.task: missing from the block in line {line}; docs/params.md explains it"
    ]


def test_distill_none_with_a_student_is_named(edited: Edit) -> None:
    path = edited(*((block(step), f"    {step}: none\n") for step in ("distill", "prune", "quantize")))
    assert the_problem(path, "    student:", f"{MODEL}.student") == (
        f"distill is none (line {line_of(path, 'distill: none')}), so the teacher itself is compressed: "
        "write `student: none`"
    )


@pytest.mark.parametrize(("student", "what"), [("", "is missing"), ("    student: none\n", "is none")])
def test_a_student_is_missing_unless_nothing_is_distilled(edited: Edit, student: str, what: str) -> None:
    path = edited((block("student"), student))
    line = line_of(path, "student: none") if student else line_of(path, "    task: sentence") - 1
    assert problems_of(path) == [
        f"params.yaml:{line}: {MODEL}.student: {what}: write what is distilled into, "
        "or `distill: none` to compress the teacher itself"
    ]


def test_steps_that_train_need_the_recipe_of_distill(edited: Edit) -> None:
    path = edited((block("student"), ""), (block("distill"), "    distill: none\n"))
    none = line_of(path, "distill: none")
    assert problems_of(path) == [
        f"params.yaml:{line_of(path, f'    {step}:')}: {MODEL}.{step}: {step} trains by the recipe of `distill`, "
        f"which is none (line {none}): write `{step}: none`"
        for step in ("prune", "quantize")
    ]


def test_an_image_model_may_be_cut_without_training(edited: Edit) -> None:
    images = replaced(()).split("  digits-mobilenet:\n")[1].split("  digits-shufflenet:\n")[0]
    student = images[images.index("    student:") : images.index("    prune:")]
    bare = images.replace(student, "    student: none\n    distill: none\n")
    path = edited((images, bare))
    none = line_of(path, "distill: none")
    assert problems_of(path) == [
        f"params.yaml:{line_of(path, f'epochs: {epochs}')}: models.digits-mobilenet.{step}.epochs: {step} trains by "
        f"the recipe of `distill`, which is none (line {none}): write `epochs: 0`, or `{step}: none`"
        for step, epochs in (("prune", 4), ("quantize", 0.5))
    ]
    path = edited((images, bare.replace("epochs: 4", "epochs: 0").replace("epochs: 0.5", "epochs: 0")))
    assert load_params(path).params.models["digits-mobilenet"].student is None


def test_the_teacher_itself_must_read_what_is_exported(edited: Edit) -> None:
    catalogue = replaced(())
    minilm = catalogue[catalogue.index("  minilm:") :]
    path = edited((minilm, minilm.replace("max_tokens: 128", "max_tokens: 64")))
    assert the_problem(path, "max_tokens: 64", "models.minilm.teacher.max_tokens").startswith(
        "is 64, but export.lengths goes up to 128"
    )


def test_a_black_box_cannot_be_compressed_alone(edited: Edit) -> None:
    catalogue = replaced(())
    minilm = catalogue[catalogue.index("  minilm:") :]
    sources = minilm[minilm.index("        - package") : minilm.index("      sha256")]
    path = edited((minilm, minilm.replace(sources, "        - saved_model: black-box\n")))
    line = line_of(path, "- saved_model: black-box") - 1
    assert problems_of(path) == [
        f"params.yaml:{line}: models.minilm.teacher.sources: are black boxes, which cannot be exported, and distill is "
        f"none (line {line_of(path, 'distill: none')}): distil them into a `student`, or name a checkpoint"
    ]


def test_texts_to_train_on_have_a_length(edited: Edit) -> None:
    path = edited(("train_tokens: 64", "train_tokens: none"))
    assert the_problem(path, "train_tokens: none", f"{MODEL}.teacher.train_tokens") == (
        "is none, but `distill` trains on texts: write how many tokens of each it reads"
    )


def test_the_block_int8_of_older_files_is_told_where_it_belongs(edited: Edit) -> None:
    old = "      int8: {tolerance: 0.01, max_float_layers: 8}\n"
    written = replaced(())
    ladder = written[written.index("      ladder:") : written.index("    verify:")]
    path = edited((ladder, old))
    line, misplaced = line_of(path, "    export:"), line_of(path, old.strip())
    assert problems_of(path) == [
        f"params.yaml:{line}: {MODEL}.export.ladder: is missing: write the precisions to make, such as "
        "`ladder: {fp32: {inference: f32}}`; the block `int8` belongs into it, with an `inference` of its own",
        f"params.yaml:{misplaced}: {MODEL}.export.int8: unknown key; allowed are batch, ladder, lengths",
    ]


def test_a_misspelt_ladder_is_one_problem(edited: Edit) -> None:
    path = edited(("      ladder:", "      lader:"))
    assert the_problem(path, "lader:", f"{MODEL}.export.lader") == "unknown key, did you mean 'ladder'?"


def test_a_ladder_that_skips_fp32_says_what_fp32_is_for(edited: Edit) -> None:
    path = edited(("        fp32:\n          inference: f32", "#"))
    assert the_problem(path, "      ladder:", f"{MODEL}.export.ladder.fp32") == (
        "the ladder skips fp32, against which the quality and the speed of every other step are judged: "
        "write `fp32: {inference: f32}` in it"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("fp23", "unknown key, did you mean 'fp32'?"), ("fp32x", "unknown key, did you mean 'fp32'?")],
)
def test_a_misspelt_fp32_is_one_problem(edited: Edit, name: str, message: str) -> None:
    path = edited(("        fp32:\n", f"        {name}:\n"))
    assert the_problem(path, f"{name}:", f"{MODEL}.export.ladder.{name}") == message


def test_a_misspelt_step_is_not_reported_as_a_missing_one_too(edited: Edit) -> None:
    path = edited((INT8, INT8.replace("int8", "in8")))
    assert the_problem(path, "        in8:", f"{MODEL}.export.ladder.in8") == "unknown key, did you mean 'int8'?"


def test_an_unknown_precision_lists_those_there_are(edited: Edit) -> None:
    path = edited((INT8, "        xyz: {inference: f32}\n" + INT8))
    assert the_problem(path, "xyz:", f"{MODEL}.export.ladder.xyz") == "unknown key; allowed are fp32, int8, int4"


def test_the_order_in_which_a_ladder_is_written_does_not_count(edited: Edit) -> None:
    path = edited(
        (INT8, INT4 + INT8),
        (TOLERANCE, TOLERANCE + TOLERANCE.replace("int8", "int4")),
        ("        recall_at_1_kept", "        int4_fidelity_drop: 0.05\n        recall_at_1_kept"),
    )
    ladder = load_params(path).params.models["docs-embed"].export.ladder
    assert ladder.variants() == (Variant.FP32, Variant.INT8, Variant.INT4)


def test_a_step_of_the_ladder_needs_a_tolerance_and_a_budget(edited: Edit) -> None:
    path = edited((INT8, INT4 + INT8))
    step = line_of(path, "        int4:")
    assert problems_of(path) == [
        f"params.yaml:{line_of(path, '      tolerances:')}: {MODEL}.verify.tolerances.int4: is missing, and "
        f"export.ladder (line {step}) makes int4: write its mean_cosine and max_abs_error",
        f"params.yaml:{line_of(path, '      quality:')}: {MODEL}.budgets.quality.int4_fidelity_drop: is missing, and "
        "export.ladder makes int4: write a number, or `int4_fidelity_drop: none`",
    ]


def test_tolerances_and_budgets_of_what_the_ladder_does_not_make_are_named(edited: Edit) -> None:
    path = edited(
        (TOLERANCE, TOLERANCE + TOLERANCE.replace("int8", "int4")),
        ("        recall_at_1_kept", "        int4_fidelity_drop: 0.05\n        recall_at_1_kept"),
    )
    assert problems_of(path) == [
        f"params.yaml:{line_of(path, '        int4:')}: {MODEL}.verify.tolerances.int4: is for int4, which "
        f"export.ladder (line {line_of(path, '      ladder:')}) does not make: remove it",
        f"params.yaml:{line_of(path, 'int4_fidelity')}: {MODEL}.budgets.quality.int4_fidelity_drop: is 0.05, but "
        "export.ladder makes no int4: write `int4_fidelity_drop: none`",
    ]


def test_the_teacher_has_a_tolerance_always(edited: Edit) -> None:
    path = edited(("        teacher: {mean_cosine: 0.999, max_abs_error: 0.02}\n", ""))
    assert the_problem(path, "      tolerances:", f"{MODEL}.verify.tolerances.teacher") == (
        "is missing, and export makes teacher: write its mean_cosine and max_abs_error"
    )


def test_several_cases_have_names_and_numbers_of_their_own(edited: Edit) -> None:
    budgets = load_params(edited((CASE, CASES), *NAMED)).params.models["docs-embed"].budgets
    assert list(budgets.judged()) == ["short", "long"]
    assert (budgets.tflite.p95_of("short"), budgets.tflite.p95_of("long")) == (10, "none")
    assert budgets.describe_cases() == "short: batch 1, 16 tokens; long: batch 8, 128 tokens"


def test_none_is_no_limit_for_any_of_several_cases(edited: Edit) -> None:
    none = [(f"{engine}: {{p95_ms: {number},", f"{engine}: {{p95_ms: none,") for engine, number in P95.items()]
    budgets = load_params(edited((CASE, CASES), *none)).params.models["docs-embed"].budgets
    assert [budgets.openvino.p95_of(name) for name in budgets.judged()] == ["none", "none"]


def test_a_case_of_several_that_is_not_exported_is_named(edited: Edit) -> None:
    wrong = CASES.replace("length: 16", "length: 17").replace("batch: 8", "batch: 4")
    path = edited((CASE, wrong), *NAMED)
    assert problems_of(path) == [
        f"params.yaml:{line_of(path, 'length: 17')}: {MODEL}.budgets.cases.short.length: is 17, a shape that is not "
        "exported: export.lengths has 16, 32, 64, 128",
        f"params.yaml:{line_of(path, 'batch: 4')}: {MODEL}.budgets.cases.long.batch: is 4, a shape that is not "
        "exported: use 1 or 8 (export.batch)",
    ]


@pytest.mark.parametrize("name", ["1st", "''", "First token", "a.b"])
def test_names_of_cases_are_plain(edited: Edit, name: str) -> None:
    bare = name.strip("'")
    named = [(old, new.replace("short", f"'{bare}'")) for old, new in NAMED]
    path = edited((CASE, CASES.replace("short", name)), *named)
    message = the_problem(path, f"        {name}: {{", f"{MODEL}.budgets.cases.{bare}")
    assert message == "a case's name is made of a-z, 0-9 and _, and starts with a letter"


def test_case_and_cases_exclude_each_other(edited: Edit) -> None:
    path = edited((CASE, CASE.splitlines(keepends=True)[0] + CASES.replace("      case: none\n", "")), *NAMED)
    assert the_problem(path, "      cases:", f"{MODEL}.budgets.cases") == (
        f"stands beside `case` (line {line_of(path, '      case:')}): write `none` for one of the two"
    )


@pytest.mark.parametrize("written", ["", "      case: none\n", "      case: none\n      cases: none\n"])
def test_one_of_case_and_cases_is_needed(edited: Edit, written: str) -> None:
    path = edited((CASE, written))
    assert the_problem(path, "    budgets:", f"{MODEL}.budgets") == (
        "has neither `case` nor `cases`: write the case that latency is judged in"
    )


def test_cases_name_at_least_one(edited: Edit) -> None:
    path = edited((CASE, "      cases: {}\n"))
    assert the_problem(path, "cases: {}", f"{MODEL}.budgets.cases") == "names no case: write at least one, or `case`"


def test_a_misspelt_case_is_one_problem(edited: Edit) -> None:
    path = edited(("      case: {", "      cse: {"))
    assert the_problem(path, "cse: {", f"{MODEL}.budgets.cse") == "unknown key, did you mean 'case'?"


def test_latencies_of_cases_that_do_not_exist_are_named_each_in_its_line(edited: Edit) -> None:
    several = "{\n        shrt: 10,\n        xyz: 7,\n        long: 9}"
    path = edited((CASE, CASES), *NAMED, ("{short: 10, long: none}", several))
    where = f"{MODEL}.budgets.tflite.p95_ms"
    assert problems_of(path) == [
        f"params.yaml:{line_of(path, 'shrt')}: {where}.shrt: 'shrt' is no case of budgets.cases; did you mean 'short'?",
        f"params.yaml:{line_of(path, 'xyz')}: {where}.xyz: 'xyz' is no case of budgets.cases; there are short, long",
    ]


def test_a_case_without_a_latency_is_named(edited: Edit) -> None:
    path = edited((CASE, CASES), *NAMED, ("{short: 10, long: none}", "{long: none}"))
    assert the_problem(path, "tflite: {p95_ms", f"{MODEL}.budgets.tflite.p95_ms") == (
        "lacks short of budgets.cases: write a number or `none` for each case"
    )


def test_one_number_for_several_cases_says_what_to_write(edited: Edit) -> None:
    path = edited((CASE, CASES), *NAMED[:2])
    assert the_problem(path, "tflite: {p95_ms", f"{MODEL}.budgets.tflite.p95_ms") == (
        "is one number, but there are several cases: write `{short: 10, long: 10}`"
    )


def test_names_for_a_single_case_are_one_too_many(edited: Edit) -> None:
    path = edited(NAMED[0])
    assert the_problem(path, "onnxruntime: {p95_ms", f"{MODEL}.budgets.onnxruntime.p95_ms") == (
        f"has names, but there is one `case` (line {line_of(path, '      case:')}): write one number"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [("-1", "is -1; expected a number > 0 or 'none'"), ("fast", "is the text 'fast'; expected a number or 'none'")],
)
def test_a_wrong_latency_of_a_case_is_named_with_the_case(edited: Edit, value: str, message: str) -> None:
    path = edited((CASE, CASES), *NAMED, ("short: 10", f"short: {value}"))
    assert the_problem(path, f"short: {value}", f"{MODEL}.budgets.tflite.p95_ms.short") == message


def test_a_case_has_at_least_one_thread(edited: Edit) -> None:
    path = edited(("length: 32, threads: 1", "length: 32, threads: 0"))
    message = the_problem(path, "threads: 0", f"{MODEL}.budgets.case.threads")
    assert message == "is 0; expected a number > 0 or 'all'"


@pytest.mark.parametrize("quantity", ["params", "macs"])
def test_a_target_above_its_budget_names_both_numbers_and_lines(edited: Edit, quantity: str) -> None:
    path = edited(
        (shipped_line(f"max_{quantity}"), f"      max_{quantity}: 2000\n"),
        (shipped_line(quantity), f"      {quantity}: 1000\n"),
    )
    assert the_problem(path, f"max_{quantity}: 2000", f"{MODEL}.prune.max_{quantity}") == (
        f"is 2000, above budgets.{quantity}, which is 1000 (line {line_of(path, f' {quantity}: 1000')}): "
        "the target does not fit its budget; lower the target or raise the budget"
    )


@pytest.mark.parametrize(("target", "budget"), [("none", "1000"), ("1000", "1000"), ("1000", "none")])
def test_a_target_within_its_budget_is_no_problem(edited: Edit, target: str, budget: str) -> None:
    path = edited(
        (shipped_line("max_params"), f"      max_params: {target}\n"),
        (shipped_line("params"), f"      params: {budget}\n"),
    )
    assert load_params(path).params.models["docs-embed"].budgets.params == (1000 if budget == "1000" else "none")


@pytest.mark.parametrize("value", ["foo", "", "true", "3"])
@pytest.mark.parametrize("step", ["distill", "prune", "quantize"])
def test_a_step_is_a_block_or_none(edited: Edit, step: str, value: str) -> None:
    path = edited((block(step), f"    {step}: {value}\n"))
    shown = {"foo": "is the text 'foo'", "": "is empty", "true": "is true", "3": "is 3"}[value]
    message = the_problem(path, f"    {step}:", f"{MODEL}.{step}")
    assert message == f"{shown}; write a block of keys, or `{step}: none`"


def test_a_missing_step_says_that_it_may_be_none(edited: Edit) -> None:
    path = edited((block("quantize"), ""))
    line = line_of(path, "    task: sentence") - 1
    assert problems_of(path) == [
        f"params.yaml:{line}: {MODEL}.quantize: missing from the block in line {line}; "
        "write the block, or `quantize: none` to leave the step out"
    ]


def test_the_catalogue_has_a_model_that_is_compressed_only(edited: Edit) -> None:
    entry = "  docs-embed: sentence_embedding\n"
    params = load_params(edited((entry, entry + "  minilm: sentence_embedding\n"))).params
    minilm = params.models["minilm"]
    assert minilm.compresses_only
    assert minilm.student is None
    assert minilm.device_facts() == {"max_tokens": 128}
    assert minilm.describe() == "the teacher itself, exported for 32, 128 tokens, judged at batch 1, 32 tokens"


@pytest.mark.parametrize(
    ("block", "changes", "message"),
    [
        ((), {"student": "none"}, "`distill` and `student`"),
        (("verify",), {"tolerances": {}}, r"each step of export\.ladder"),
        (("budgets",), {"case": "none"}, "both `case` and `cases`, or neither"),
        (("budgets", "tflite"), {"p95_ms": {"nobody": 3}}, "other names than `cases`"),
        (("budgets",), {"case": "none", "cases": {"a": {"batch": 1, "length": 16, "threads": 1}}}, "several cases"),
    ],
)
def test_the_schema_refuses_contradictions_that_no_check_has_seen(
    block: tuple[str, ...], changes: dict[str, object], message: str
) -> None:
    model = yaml_lines.read(SHIPPED).tree["models"]["docs-embed"]
    inner = model
    for name in block:
        inner = inner[name]
    inner.update(changes)
    with pytest.raises(ValidationError, match=message):
        tasks.params_of("sentence_embedding").model_validate_json(json.dumps(model), strict=True)
