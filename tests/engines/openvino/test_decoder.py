"""A decoder's graph in OpenVINO's own operators: what PyTorch says, in the kernels that are fast."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray

from pipeline.engines.decoders import decoder_spec
from pipeline.engines.openvino.export import exporter
from pipeline.engines.spec import ModelSpec
from pipeline.engines.torch_session import TorchSession
from pipeline.layout import Variant
from pipeline.runtime.openvino import settings
from pipeline.runtime.session import Precision, Session, State, open_session
from pipeline.students.decoder import Decoder, DecoderConfig

_LLAMA = DecoderConfig(
    vocabulary=64,
    hidden_dim=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    ffn_dim=96,
    rope_theta=1e4,
    norm_epsilon=1e-5,
    max_tokens=128,
)
_KINDS = {
    "llama": _LLAMA,
    "qwen2": replace(_LLAMA, qkv_bias=True),
    "qwen3": replace(_LLAMA, qk_norm=True, tied=False),
    "one head of keys a head of queries": replace(_LLAMA, kv_heads=4),
    "one head of keys": replace(_LLAMA, kv_heads=1),
}
# Logits reach about 10: what differs is the order of additions.
_ATOL = 1e-4
_PROMPT = np.array([[3, 14, 15, 9, 26, 5, 35, 8, 9, 7]], np.int32)


def _decoder(config: DecoderConfig) -> Decoder:
    """Weights large enough that the text changes from token to token."""
    torch.manual_seed(0)
    model = Decoder(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * (0.3 if "norm" in name or "bias" in name else 0.15))
            if "norm" in name:
                value.add_(1)
    return model


def _spec(config: DecoderConfig) -> ModelSpec:
    return decoder_spec(config, tokens=(1, 8), caches=(64, 128))


class _Text:
    """A text that grows in one session."""

    def __init__(self, session: Session, state: State | None = None) -> None:
        found = state or session.new_state()
        assert found is not None
        self.session, self.state = session, found

    def add(self, tokens: NDArray[Any], rows: list[int] | None = None) -> NDArray[np.float32]:
        """Logits of `rows`, or of the last token."""
        inputs = {
            "tokens": np.asarray(tokens, np.int32).reshape(1, -1),
            "position": np.array([self.state.length], np.int32),
            "rows": np.array([np.size(tokens) - 1] if rows is None else rows, np.int32),
        }
        return self.session.run(inputs, self.state)

    def greedy(self, logits: NDArray[np.float32], steps: int) -> list[int]:
        said = []
        for _ in range(steps):
            said.append(int(logits.argmax()))
            logits = self.add(np.array(said[-1]))
        return said


@pytest.fixture(scope="module", params=list(_KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Session]:
    """A decoder in OpenVINO and in PyTorch."""
    config = _KINDS[request.param]
    model = _decoder(config)
    file = tmp_path_factory.mktemp("openvino") / "fp32.xml"
    exporter.export(model, _spec(config), file, toolchain={})
    return open_session("openvino", file, 1, Precision(cache="f32")), TorchSession(model, _spec(config))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, Path]:
    """Every variant of one decoder."""
    folder = tmp_path_factory.mktemp("variants")
    exporter.export(_decoder(_LLAMA), _spec(_LLAMA), folder / "fp32.xml", toolchain={})
    for variant in (Variant.INT8, Variant.INT4):
        exporter.quantize(
            folder / "fp32.xml", _spec(_LLAMA), _calibration(), folder / f"{variant}.xml", precision=variant
        )
    return {variant: folder / f"{variant}.xml" for variant in (Variant.FP32, Variant.INT8, Variant.INT4)}


def _calibration() -> dict[str, NDArray[Any]]:
    tokens = np.random.default_rng(0).integers(0, 64, (8, 32)).astype(np.int32)
    return {"tokens": tokens, "position": np.zeros(8, np.int32), "rows": np.full(8, 31, np.int32)}


def _open(files: dict[Variant, Path], variant: Variant) -> Session:
    precision = exporter.precision_of(files[variant], variant, _spec(_LLAMA), "f32")
    return open_session("openvino", files[variant], 1, precision)


def test_logits_of_prompt_and_steps_are_pytorchs(pair: tuple[Session, Session]) -> None:
    texts = [_Text(session) for session in pair]
    for tokens, rows in [
        (_PROMPT, None),
        ([7], None),
        ([1], [0]),
        (_PROMPT[:, ::-1], list(range(10))),
        ([2, 3, 4], [2, 0]),
    ]:
        given, wanted = (text.add(np.array(tokens), rows) for text in texts)
        assert given.shape == wanted.shape
        np.testing.assert_allclose(given, wanted, atol=_ATOL)


def test_greedy_text_is_pytorchs(pair: tuple[Session, Session]) -> None:
    given, wanted = (text.greedy(text.add(_PROMPT), 60) for text in map(_Text, pair))
    assert given == wanted
    assert len(set(wanted)) > 5  # a model that repeats itself would prove nothing


def test_a_rewound_text_goes_on_as_if_nothing_had_been_behind(pair: tuple[Session, Session]) -> None:
    texts = [_Text(session) for session in pair]
    for length in (10, 6, 9, 10, 1, 10, 0, 10):
        for tokens in (_PROMPT, [5], [6, 7, 8]):
            given, wanted = (text.add(np.array(tokens), [0, np.size(tokens) - 1]) for text in texts)
            np.testing.assert_allclose(given, wanted, atol=_ATOL)
        for text in texts:
            text.state.rewind(length)


def test_many_short_rewinds_do_not_fill_the_cache(pair: tuple[Session, Session]) -> None:
    texts = [_Text(session) for session in pair]
    for text in texts:
        text.add(_PROMPT)
    for token in range(50):
        given, wanted = (text.add(np.array([token, token + 1])) for text in texts)
        np.testing.assert_allclose(given, wanted, atol=_ATOL)
        for text in texts:
            text.state.rewind(10 + token // 10)
    held = texts[0].state.request.query_state()[0].state.shape[2]  # type: ignore[attr-defined]
    assert texts[0].state.length == 14
    assert held < 14 + 40


def test_a_copy_of_a_rewound_text_goes_its_own_way(pair: tuple[Session, Session]) -> None:
    texts = [_Text(session) for session in pair]
    for text in texts:
        text.add(_PROMPT)
        text.state.rewind(7)
    copies = [_Text(text.session, text.state.copy()) for text in texts]
    for pairs, token in ((copies, 1), (texts, 2), (copies, 3), (texts, 4)):
        given, wanted = (text.add(np.array([token])) for text in pairs)
        np.testing.assert_allclose(given, wanted, atol=_ATOL)
    assert [text.state.length for text in (*texts, *copies)] == [9, 9, 9, 9]


@pytest.mark.parametrize("variant", [Variant.FP32, Variant.INT8, Variant.INT4])
def test_the_fast_kernels_take_each_part(files: dict[Variant, Path], variant: Variant) -> None:
    precision = exporter.precision_of(files[variant], variant, _spec(_LLAMA), "f32")
    compiled = openvino.Core().compile_model(files[variant], "CPU", settings(1, precision))
    kernels = Counter(_kernel(node) for node in compiled.get_runtime_model().get_ops())
    assert kernels["ScaledDotProductAttention"] == 2
    assert kernels["RoPE"] == 4
    assert kernels["RMS"] == 5
    # One product a layer for queries, keys and values, one for gate and up; the head.
    assert kernels["FullyConnected"] == 9
    # Not one product nor one cache outside of these kernels.
    assert not {"MatMul", "Softmax"} & kernels.keys()
    assert kernels["Concatenation"] == 1


def _kernel(node: Any) -> str:
    kind: str = node.get_rt_info()["layerType"].astype(str)
    return kind


# Random weights of two layers: 3.6 % and 15 % of the logits' norm.
@pytest.mark.parametrize(("variant", "most"), [(Variant.INT8, 0.05), (Variant.INT4, 0.3)])
def test_reduced_variants_stay_near_fp32(files: dict[Variant, Path], variant: Variant, most: float) -> None:
    whole, reduced = (_Text(_open(files, one)) for one in (Variant.FP32, variant))
    for tokens in (_PROMPT, [7], [9]):
        exact, rounded = (text.add(np.array(tokens), list(range(np.size(tokens)))) for text in (whole, reduced))
        assert np.linalg.norm(rounded - exact) < most * np.linalg.norm(exact)


def test_reduced_variants_name_what_they_compute_in(files: dict[Variant, Path]) -> None:
    spec = _spec(_LLAMA)
    for variant in (Variant.INT8, Variant.INT4):
        precision = exporter.precision_of(files[variant], variant, spec, "bf16")
        assert precision == Precision(weights=variant.value, activations="int8 dynamic", inference="f32", cache="f32")
    assert exporter.precision_of(files[Variant.FP32], Variant.FP32, spec, "bf16").inference == "bf16"


def test_reduced_files_are_small_and_hold_the_table_once(files: dict[Variant, Path]) -> None:
    whole, int8, int4 = (files[one].with_suffix(".bin").stat().st_size for one in files)
    weights = sum(value.numel() for name, value in _decoder(_LLAMA).named_parameters() if value.ndim == 2)
    rotary = 2 * 128 * 16 * 4
    assert weights * 4 + rotary < whole < weights * 4.2 + rotary
    assert weights + rotary < int8 < weights * 1.2 + rotary
    assert int4 < int8 * 0.85


def test_layers_stay_in_float_by_name(files: dict[Variant, Path], tmp_path: Path) -> None:
    kept = ["layers.0.down", "head"]
    out = tmp_path / "int8.xml"
    exporter.quantize(files[Variant.FP32], _spec(_LLAMA), {}, out, precision=Variant.INT8, keep_float=kept)
    model = openvino.Core().read_model(out)
    floats = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul" and node.input_value(1).get_node().get_type_name() == "Constant"
    ]
    assert floats == [f"__module.{name}" for name in kept]


def test_the_same_decoder_is_written_in_the_same_bytes(files: dict[Variant, Path], tmp_path: Path) -> None:
    exporter.export(_decoder(_LLAMA), _spec(_LLAMA), tmp_path / "fp32.xml", toolchain={})
    for variant in (Variant.INT8, Variant.INT4):
        exporter.quantize(
            tmp_path / "fp32.xml", _spec(_LLAMA), _calibration(), tmp_path / f"{variant}.xml", precision=variant
        )
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (files[Variant.FP32].parent / path.name).read_bytes(), path.name
