"""A tiny language model from the benchmark to a release that every engine opens."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.report import report
from pipeline.files import read_json
from pipeline.gate.checks import quality_checks
from pipeline.gate.question import Judge
from pipeline.layout import CHAT, GENERATION, Engine, Layout, Variant
from pipeline.params.file import load_params
from pipeline.records.generation import Generation
from pipeline.records.results import Results
from pipeline.records.verdict import Outcome, Verdict
from pipeline.records.verification import Verification
from pipeline.runtime import Release
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.golden import check_golden
from tests.tasks.causal_lm.workspace import CONTEXT, WHOLE

PROMPT, TEXT = "re la ", "lore mita, re lona tis."


def open_on(released: Layout, engine: Engine) -> Release:
    return Release.open(released.model(WHOLE).release, engine.value, threads=1)


def test_every_variant_is_timed_behind_a_filled_cache(released: Layout) -> None:
    results = Results.read(released.results)
    assert results.failures == ()
    timed = {(one.engine, one.variant) for one in results.measurements if one.case == "t1_after20" and one.threads == 1}
    assert timed == {(engine, variant) for engine in Engine for variant in (Variant.FP32, Variant.INT8)}
    judged = {name for one in results.measurements for name in one.judged}
    assert judged == {"token", "prompt"}


def test_the_gate_judges_bits_growth_and_text_of_every_variant(released: Layout) -> None:
    assert Verdict.read(released.verdict).models[WHOLE].verdict is Outcome.PASS
    params = load_params(released.params).params.models[WHOLE]
    found = Verification.read(released.model(WHOLE).verification)
    judged = {
        (one.variant, check.name): check
        for one in found.variants
        for check in quality_checks(one, found, params, Judge(WHOLE, lambda key: None))
    }
    assert {variant: {name for of, name in judged if of is variant} for variant in (Variant.FP32, Variant.INT8)} == {
        Variant.FP32: {"bits_per_byte", "fp32_same_text"},
        Variant.INT8: {"bits_per_byte", "int8_bits_growth"},
    }
    assert all(check.verdict is Outcome.PASS for check in judged.values())


def test_the_manifest_says_how_texts_begin_and_end(released: Layout) -> None:
    paths = released.model(WHOLE)
    manifest = read_json(paths.release / "manifest.json")
    said = Generation.read(paths.quantized / GENERATION)
    assert manifest["verb"] == "generate"
    assert (manifest["start_token"], manifest["end_tokens"]) == (said.start, list(said.end))
    assert (manifest["context"], manifest["chat"]) == (CONTEXT, CHAT)
    assert set(manifest["engines"]) == set(Engine)


@pytest.mark.parametrize("engine", list(Engine))
def test_the_release_continues_and_scores_texts(engine: Engine, released: Layout) -> None:
    release = open_on(released, engine)
    answer = release.generate(PROMPT, max_tokens=12)
    said = "".join(answer)
    assert 0 < len(answer.ids) <= 12
    assert said == "".join(release.generate(PROMPT, max_tokens=12))
    bits = release.score(TEXT)
    assert math.isfinite(bits) and bits > 0
    candidates = release.complete("re la ", n=2)
    assert len(candidates) == 2 and candidates[0].probability >= candidates[1].probability


@pytest.mark.parametrize("engine", list(Engine))
def test_the_release_repeats_its_golden_texts(engine: Engine, released: Layout) -> None:
    assert check_golden(open_on(released, engine)) == []


def test_engines_score_a_text_alike(released: Layout) -> None:
    bits = [open_on(released, engine).score(TEXT) for engine in Engine]
    np.testing.assert_allclose(bits, bits[0], rtol=0.01)


def test_a_prompt_longer_than_the_largest_cache_is_refused_with_both_numbers(released: Layout) -> None:
    release = open_on(released, Engine.ONNXRUNTIME)
    with pytest.raises(RuntimeInputError, match=rf"the prompt has \d+ tokens, and it may have {CONTEXT - 1}"):
        release.generate("re la " * CONTEXT)


def test_a_stop_string_that_is_empty_is_refused(released: Layout) -> None:
    with pytest.raises(RuntimeInputError, match="empty"):
        open_on(released, Engine.ONNXRUNTIME).generate(PROMPT, stop=[""])


def test_the_release_chats(released: Layout) -> None:
    conversation = open_on(released, Engine.ONNXRUNTIME).chat()
    answer = conversation.say("re la", max_tokens=5)
    said = "".join(answer)
    assert answer.ids and conversation.fill == (conversation.fill[0], CONTEXT)
    assert 0 < conversation.fill[0] < CONTEXT
    conversation.reset()
    assert "".join(conversation.say("re la", max_tokens=5)) == said


def test_card_and_report_speak_of_bits_and_of_cases(
    released: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (released.model(WHOLE).release / "README.md").read_text(encoding="utf-8")
    assert "Bits/byte" in card and "release.generate(" in card
    monkeypatch.chdir(released.root)
    report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for words in (WHOLE, "Bits/byte", "1 token after 20", "Latency p95, prompt"):
        assert words in page, words
