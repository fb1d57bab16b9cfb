"""What the card says of products that are made in other ways than distilled, pruned and quantized."""

from pathlib import Path

import yaml

from pipeline.layout import Engine, Layout, Variant
from pipeline.params.file import load_params
from pipeline.params.sources import Weights
from pipeline.records.export import KeptLayer, Reduction
from pipeline.release.model_card import Origin, model_card, teacher_origin
from tests.report import made_up

MINILM = "minilm"


def card_of_minilm(root: Path) -> str:
    """The card of a checkpoint that was compressed only: no teacher's export, one step, no speed-up."""
    params = load_params(made_up.REPOSITORY / "params.yaml").params.models[MINILM]
    assert params.compresses_only
    layout = Layout(root)
    made_up.write(layout.model(MINILM).data / "report.json", {"train_texts": 7})
    found = made_up.verification()
    kept = Reduction(
        loss=0.002, tolerance=0.01, attempts=2, holds=True, kept_float=(KeptLayer(layer="head", error=0.3),)
    )
    variants = tuple(
        one.model_copy(update={"reduction": kept if one.name == "tflite int8" else None})
        for one in found.variants
        if one.variant.is_student
    )
    results = made_up.results(root, failure=False)
    measurements = tuple(
        one.model_copy(update={"model": MINILM}) for one in results.measurements if one.variant.is_student
    )
    verdict = made_up.verdict_of("PASS").models[made_up.MODEL].model_copy(update={"speedup": {}})
    return model_card(
        layout,
        MINILM,
        params,
        verdict,
        found.model_copy(update={"variants": variants, "steps": found.steps[:1], "student": found.teacher}),
        results.model_copy(update={"measurements": measurements}),
    )


def test_a_checkpoint_that_is_compressed_only_has_a_card_without_a_teachers_row(tmp_path: Path) -> None:
    _, front, body = card_of_minilm(tmp_path).split("---\n", 2)
    assert "knowledge-distillation" not in yaml.safe_load(front)["tags"]
    assert yaml.safe_load(front)["tags"][0] == "sentence-embedding"
    assert (
        "A model of 22,713,216 parameters for sentence embedding on the edge, sentence-transformers/all-MiniLM-L6-v2 "
        "itself, and measured on each engine it ships for." in body
    )
    assert "*teacher*" not in body
    assert "In TensorFlow Lite int8 these layers stay in float, because int8 lost too much in them: `head`." in body
    assert "{{" not in body


def test_the_variant_that_ships_is_the_one_on_the_card(tmp_path: Path) -> None:
    body = card_of_minilm(tmp_path)
    verdict = made_up.verdict_of("PASS").models[made_up.MODEL]
    assert verdict.chosen[Engine.OPENVINO] is Variant.FP32
    assert "| OpenVINO | `openvino/`, fp32 | 11.40 MB |" in body


def test_the_card_says_whose_work_the_teacher_is_and_that_it_was_changed(tmp_path: Path) -> None:
    licence = " ".join(card_of_minilm(tmp_path).split("## Licence")[1].split())
    assert licence == (
        "Apache-2.0, as the teacher. "
        "[sentence-transformers/all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) "
        "is its authors' work, under the [Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0). "
        "This release changes it: its weights were exported to each engine and rounded as the tables above say."
    )


def test_the_language_model_is_known_by_its_checksum_and_another_file_has_no_known_licence() -> None:
    teacher = load_params(made_up.REPOSITORY / "params.yaml").params.models["bard-chat"].teacher
    assert isinstance(teacher, Weights)
    known = teacher_origin(teacher)
    assert (known.name, known.licence) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    other = Weights.model_validate({"sources": [{"gguf": "models/own.gguf"}], "sha256": "f" * 64})
    assert teacher_origin(other) == Origin("models/own.gguf", "other")
