"""The stages on tiny language models: a teacher that is compressed only, and a student that learns from it."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from pipeline import weights
from pipeline.compress.tokens import labels
from pipeline.errors import BardletError, ExitCode, InputError, IntegrityError
from pipeline.files import read_json, sha256, write_json
from pipeline.layout import (
    CALIBRATION,
    CHAT,
    CONFIG,
    GENERATION,
    REPORT,
    TOKENIZER,
    Engine,
    Layout,
    Variant,
)
from pipeline.records.export import Export
from pipeline.records.generation import Generation
from pipeline.records.step import StepReport
from pipeline.records.verification import Verification
from pipeline.runtime.decoder_calls import POSITION, ROWS, TOKENS
from pipeline.tasks.causal_lm.params import ModelParams
from stages import data, quantize, teacher
from tests.fleet.workspace import edit_params, snapshot
from tests.tasks.causal_lm.workspace import (
    SMALL,
    STUDENT_VOCABULARY,
    TEACHER,
    VOCABULARY,
    WHOLE,
)
from tests.teacher import tiny_language_models as tiny

MODELS = (WHOLE, SMALL)
MEASURES = {measure.key for measure in ModelParams.measures}


def verification(built: Layout, model: str) -> Verification:
    return Verification.read(built.model(model).verification)


@pytest.mark.parametrize("model", MODELS)
def test_greedy_text_in_fp32_is_pytorchs_on_every_engine(model: str, built: Layout) -> None:
    found = {one.engine: one for one in verification(built, model).variants if one.variant is Variant.FP32}
    assert set(found) == set(Engine)
    for one in found.values():
        assert one.verified, one.problems
        assert one.quality["same_text"] == 1.0
        assert one.quality["agreement"] == 1.0


@pytest.mark.parametrize("model", MODELS)
def test_int8_holds_its_tolerance_on_every_engine(model: str, built: Layout) -> None:
    found = {one.engine: one for one in verification(built, model).variants if one.variant is Variant.INT8}
    assert set(found) == set(Engine)
    for engine, one in found.items():
        assert one.verified, one.problems
        fp32 = verification(built, model).find(engine, Variant.FP32)
        assert fp32 is not None
        assert abs(one.quality["bits_per_byte"] - fp32.quality["bits_per_byte"]) <= 0.05
        assert 0 < one.size_bytes < fp32.size_bytes
        reduction = Export.read(built.model(model).export_manifest(engine)).variants[Variant.INT8].reduction
        assert reduction is not None and reduction.holds


@pytest.mark.parametrize("model", MODELS)
def test_every_variant_the_teacher_and_the_student_have_every_measure(model: str, built: Layout) -> None:
    found = verification(built, model)
    for quality in (found.teacher.quality, found.student.quality, *(one.quality for one in found.variants)):
        assert set(quality) == MEASURES
        assert quality["bits_per_byte"] > 0
    has_teacher = {one.engine for one in found.variants if one.variant is Variant.TEACHER}
    assert has_teacher == (set(Engine) if model == SMALL else set())


@pytest.mark.parametrize("model", MODELS)
def test_the_calibration_set_reads_beginnings_of_training_texts(model: str, built: Layout) -> None:
    paths = built.model(model)
    calls = weights.load_tensors(paths.quantized / CALIBRATION)
    assert set(calls) == {TOKENS, POSITION, ROWS}
    count = len(calls[TOKENS])
    assert count > 1 and calls[TOKENS].shape == (count, 128)
    assert (calls[POSITION] == 0).all() and (calls[ROWS] == 127).all()
    start = Generation.read(paths.quantized / GENERATION).start
    assert (calls[TOKENS][:, 0] == start).all()
    text = Tokenizer.from_file(str(paths.quantized / TOKENIZER)).decode(calls[TOKENS][0, 1:].tolist())
    assert text in (paths.data / "train.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", MODELS)
def test_cases_are_prompts_and_tokens_behind_a_filled_cache(model: str, built: Layout) -> None:
    found = verification(built, model)
    shapes = {case.name: case.shape for case in found.cases}
    assert shapes == {
        "t24": {"batch": 1, "tokens": 24, "before": 0},
        "t32": {"batch": 1, "tokens": 32, "before": 0},
        "t128": {"batch": 1, "tokens": 128, "before": 0},
        # Not the fill of 240, which is beyond the largest cache.
        **{f"t1_after{before}": {"batch": 1, "tokens": 1, "before": before} for before in (16, 20, 128)},
    }
    inputs = weights.load_tensors(built.model(model).fleet_inputs)
    for name, shape in shapes.items():
        call, before = _of_case(inputs, name), _of_case(inputs, f"{name}.before")
        assert call[TOKENS].shape == (1, shape["tokens"])
        assert call[POSITION].tolist() == [shape["before"]]
        assert call[ROWS].tolist() == [shape["tokens"] - 1]
        assert bool(before) == (shape["before"] > 0)
        if before:
            assert before[TOKENS].shape == (1, shape["before"])
            assert before[POSITION].tolist() == [0]
            # One text: the timed token is what follows those before it.
            whole = inputs[f"t128.{TOKENS}"][0]
            np.testing.assert_array_equal(before[TOKENS][0], whole[: shape["before"]])


def _of_case(inputs: Mapping[str, np.ndarray], case: str) -> dict[str, np.ndarray]:
    names = (TOKENS, POSITION, ROWS)
    return {name: inputs[f"{case}.{name}"] for name in names if f"{case}.{name}" in inputs}


def test_the_compressed_teacher_keeps_its_tokens_and_its_chat(built: Layout) -> None:
    paths = built.model(WHOLE)
    said = Generation.read(paths.quantized / GENERATION)
    tokenizer = Tokenizer.from_file(str(paths.quantized / TOKENIZER))
    assert tokenizer.get_vocab_size() == VOCABULARY
    assert said == Generation.read(paths.teacher_checkpoint / GENERATION)
    assert tokenizer.token_to_id("<|im_end|>") in said.end
    chat = read_json(paths.quantized / CHAT)
    assert (chat["user"], chat["end_of_turn"]) == (["<|im_start|>user\n", "<|im_end|>\n"], "<|im_end|>")
    assert StepReport.read(paths.quantized / REPORT).params == StepReport.read(paths.teacher / REPORT).params


def test_the_student_has_ids_of_its_own_and_does_not_chat(built: Layout) -> None:
    paths = built.model(SMALL)
    tokenizer = Tokenizer.from_file(str(paths.quantized / TOKENIZER))
    assert tokenizer.get_vocab_size() == STUDENT_VOCABULARY == read_json(paths.quantized / CONFIG)["vocabulary"]
    said = Generation.read(paths.quantized / GENERATION)
    teachers = Tokenizer.from_file(str(paths.teacher_checkpoint / TOKENIZER))
    theirs = Generation.read(paths.teacher_checkpoint / GENERATION)
    assert tokenizer.id_to_token(said.start) == teachers.id_to_token(theirs.start)
    assert said.end == (said.start,)
    assert (paths.teacher_checkpoint / CHAT).is_file()
    assert not (paths.quantized / CHAT).exists()


def test_the_student_learns_from_texts_and_from_labels_of_the_teacher(built: Layout) -> None:
    paths = built.model(SMALL)
    report, facts = StepReport.read(paths.student / REPORT), StepReport.read(paths.teacher / REPORT).facts
    labelled = weights.load_tensors(paths.teacher / labels.FILE)
    assert report.training is not None and report.training.steps == 600 // (2 * 32)
    lines = paths.loss_curve("distill").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + report.training.steps
    # Nearly 2000 bytes of documents, and one row of labels for some of their tokens.
    assert int(facts["labelled_texts"]) > 1
    assert len(labelled["tokens"]) == facts["labelled_tokens"] and len(labelled["places"]) == facts["labels"]
    assert len(labelled[labels.KEPT]) == STUDENT_VOCABULARY
    assert 0 < float(report.facts["start_variance_kept"]) <= 1
    assert report.params is not None and report.params < 20_000


def test_texts_are_split_by_group_and_judged_ones_are_cut(built: Layout) -> None:
    paths = built.model(WHOLE)
    groups = read_json(paths.data / REPORT)["groups"]
    names = [name for split in ("train", "validation", "heldout") for name in groups[split]]
    assert sorted(names) == [f"g{index}" for index in range(8)]
    rows = (paths.data / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 6
    assert max(len(row) for row in rows) < 200
    assert snapshot(paths.data) == snapshot(built.model(SMALL).data)


@pytest.fixture
def own(built: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A copy of the workspace that a test may change; the current folder."""
    shutil.copytree(built.root, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return Layout(Path())


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _encoder(folder: Path) -> None:
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "model_type": "bert"})


def _other_tokenizer(folder: Path) -> None:
    tiny.tokenizer(VOCABULARY + 40, (folder.parent / "data/raw/texts.jsonl").read_text(encoding="utf-8")).save(
        str(folder / "tokenizer.json")
    )


def _truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_pickled, InputError, r"pytorch_model\.bin is a pickle"),
        (_encoder, InputError, "model_type is bert, an encoder"),
        (_other_tokenizer, InputError, r"tokenizer\.json"),
        (_truncated, IntegrityError, r"model\.safetensors"),
    ],
)
def test_a_teacher_that_cannot_be_used_leaves_the_one_before(
    spoil: Callable[[Path], None], error: type[BardletError], message: str, own: Layout
) -> None:
    before = snapshot(Path("artifacts"))
    spoil(Path(TEACHER))
    with pytest.raises(error, match=message) as caught:
        teacher.run(WHOLE)
    assert caught.value.exit_code in (ExitCode.BAD_INPUT, ExitCode.INTEGRITY)
    assert snapshot(Path("artifacts")) == before


@pytest.mark.parametrize("kept", [0.5, 0.01])
def test_a_truncated_gguf_leaves_the_teacher_before(kept: float, own: Layout) -> None:
    before = snapshot(Path("artifacts"))
    file = Path("model.gguf")
    tiny.write_gguf(file, tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    pinned = {"sources": [{"gguf": file.name}], "sha256": sha256(file)}
    edit_params(own.params, lambda params: params["models"][WHOLE]["teacher"].update(pinned))
    with pytest.raises(IntegrityError, match=r"model\.gguf is a truncated or damaged GGUF file"):
        teacher.run(WHOLE)
    assert snapshot(Path("artifacts")) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file holds a text of 40 bytes or more"),
        (b"\xff\xfe\x00\x01 binary \x80\x81", r"texts\.jsonl"),
        (b'{"group": "g"}\n{"text": 3}\n', r"(?s)texts\.jsonl:1: .*texts\.jsonl:2: "),
    ],
    ids=["empty", "binary", "no text"],
)
def test_texts_that_cannot_be_read_leave_the_data_before(content: bytes, message: str, own: Layout) -> None:
    before = snapshot(own.model(WHOLE).data)
    Path("data", "raw", "texts.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        data.run(WHOLE)
    assert snapshot(own.model(WHOLE).data) == before


def test_texts_too_short_to_calibrate_on_are_named(own: Layout) -> None:
    paths = own.model(WHOLE)
    before = snapshot(paths.quantized)
    train = paths.data / "train.jsonl"
    train.write_text('{"group": "g", "text": "a text of a few words, and no more than that"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.jsonl: no text has 128 tokens to calibrate on: give longer ones"):
        quantize.run(WHOLE)
    assert snapshot(paths.quantized) == before
