"""Golden prompts: recorded at release, compared on the device."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import IntegrityError
from pipeline.layout import CHAT, GENERATION, Layout
from pipeline.records.generation import Generation
from pipeline.release import bundle, golden
from pipeline.runtime import Release
from pipeline.runtime.golden import check_golden
from pipeline.runtime.golden_texts import LENGTH, continuations
from pipeline.runtime.manifest import read_manifest
from pipeline.runtime.memory import Memory
from tests.runtime import tiny_texts


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A release of the tiny language model with its golden prompts, run in PyTorch."""
    monkeypatch.setattr("pipeline.runtime.release.open_session", lambda *_: tiny_texts.session())
    folder = tiny_texts.write_release(tmp_path / "release")
    _write_golden(folder, golden.record(read_manifest(folder), tmp_path))
    return Release.open(folder)


def _write_golden(folder: Path, content: object) -> None:
    (folder / "golden.json").write_text(json.dumps(content))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {"golden.json": bundle.list_files(folder)["golden.json"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _recorded(release: Release) -> dict[str, object]:
    found: dict[str, object] = json.loads((release.manifest.folder / "golden.json").read_text())
    return found


def test_a_release_repeats_its_golden_prompts(release: Release) -> None:
    assert check_golden(release) == []
    recorded = _recorded(release)
    assert recorded["prompts"] == list(golden.PROMPTS)
    entry = recorded["engines"]["onnxruntime"]  # type: ignore[index]
    for ids, greedy in zip(recorded["token_ids"], entry["greedy"], strict=True):  # type: ignore[call-overload]
        assert greedy == tiny_texts.greedy(ids, LENGTH)
    assert np.array(entry["outputs"]).shape == (len(golden.PROMPTS), 64)


def test_a_tokenizer_that_cuts_otherwise_is_noticed(release: Release) -> None:
    recorded = _recorded(release)
    recorded["token_ids"][0][1] += 1  # type: ignore[index]
    (problem,) = release.product.compare(recorded)
    assert problem.startswith(f"{golden.PROMPTS[0]!r}: ")
    assert "tokens" in problem


def test_another_model_is_noticed_by_its_logits_and_its_text(release: Release) -> None:
    model = tiny_texts.decoder()
    with torch.no_grad():
        kept = model.layers[0].up.weight.clone()
        model.layers[0].up.weight.copy_(kept.flip(0))
        try:
            problems = check_golden(Release.open(release.manifest.folder))
        finally:
            model.layers[0].up.weight.copy_(kept)
    assert any("its logits are off by" in problem and "allowed 0.15" in problem for problem in problems)
    assert any("a recorded token lies below the best by" in problem for problem in problems)


def test_slightly_other_rounding_is_no_problem(release: Release) -> None:
    model = tiny_texts.decoder()
    with torch.no_grad():
        kept = {name: parameter.clone() for name, parameter in model.named_parameters()}
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
        try:
            assert check_golden(Release.open(release.manifest.folder)) == []
        finally:
            model.load_state_dict(kept)


def test_a_context_that_ends_early_gives_shorter_text() -> None:
    memory = Memory("pytorch", tiny_texts.session(10), 10)
    prompt = list(range(70, 78))
    assert continuations(memory, [prompt])["greedy"] == [tiny_texts.greedy(prompt, 3)]


def test_the_bundle_takes_what_a_generator_needs(tmp_path: Path) -> None:
    paths = Layout(tmp_path).model("bard")
    paths.quantized.mkdir(parents=True)
    Generation(start=0, end=(2,)).write(paths.quantized / GENERATION)
    out = tmp_path / "release"
    out.mkdir()
    facts = {"start_token": 0, "end_tokens": [2]}
    assert bundle._generation(paths, out) == facts
    assert list(out.iterdir()) == []
    (paths.quantized / CHAT).write_text(json.dumps(tiny_texts.FORMAT.as_json()))
    assert bundle._generation(paths, out) == {**facts, "chat": "chat.json"}
    assert (out / CHAT).read_bytes() == (paths.quantized / CHAT).read_bytes()
    (paths.quantized / GENERATION).write_text('{"start": -1, "end": [2]}')
    with pytest.raises(IntegrityError, match=r"generation\.json: start: .* greater than or equal to 0"):
        bundle._generation(paths, out)
