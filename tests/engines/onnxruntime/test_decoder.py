"""Decoders in ONNX Runtime must say what PyTorch says, in every form that a decoder's config can have."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from pipeline.engines.decoders import decoder_spec
from pipeline.engines.exporter import LayerError, NotAvailableError
from pipeline.engines.onnxruntime.export import exporter
from pipeline.engines.torch_session import TorchSession
from pipeline.layout import Variant
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.session import Inputs, Precision, Session, State, open_session
from pipeline.students.decoder import Decoder, DecoderConfig

_MOST = 600
_PLAIN = DecoderConfig(
    vocabulary=80,
    hidden_dim=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    ffn_dim=96,
    rope_theta=1e4,
    norm_epsilon=1e-5,
    max_tokens=_MOST,
)
_FORMS = {
    "plain": _PLAIN,
    "bias": replace(_PLAIN, qkv_bias=True),
    "head norm": replace(_PLAIN, qk_norm=True),
    "untied": replace(_PLAIN, tied=False),
    "ungrouped": replace(_PLAIN, kv_heads=4),
}
_PROMPT = np.random.default_rng(0).integers(0, 64, (1, 40)).astype(np.int32)
# float32 sums in another order; logits are about 3.
_ATOL = 2e-4
# Root mean square of what int8 does to logits, by their spread. A product with random weights loses 0.5 to 1 %, and
# two layers of attention with weights as large as these make several times that of it: 4 to 6 % here.
_NOISE = 0.08


def _decoder(config: DecoderConfig) -> Decoder:
    """Weights so large that each layer matters and the text does not repeat itself."""
    torch.manual_seed(3)
    model = Decoder(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.2)
            elif weight.ndim == 1:
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(std=1.5 * weight.shape[1] ** -0.5)
    return model


def _export(config: DecoderConfig, folder: Path, most: int = _MOST) -> Path:
    path = folder / "fp32.onnx"
    exporter.export(_decoder(config), decoder_spec(config, [1, 32], [256, most]), path, toolchain={})
    return path


def _reduce(fp32: Path, precision: Variant, keep_float: tuple[str, ...] = ()) -> Path:
    path = fp32.parent / f"{precision}.onnx"
    exporter.quantize(fp32, _SPEC, {}, path, precision=precision, keep_float=keep_float)
    return path


# Calibration texts.
_TEXTS = {
    "tokens": np.random.default_rng(1).integers(0, 64, (8, 40)).astype(np.int32),
    "position": np.zeros(8, np.int32),
    "rows": np.full(8, 39, np.int32),
}
_SPEC = decoder_spec(_PLAIN, [1, 32], [256, _MOST])


@pytest.fixture(scope="module", params=_FORMS)
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchSession, Path]:
    """PyTorch's session and the fp32 file of one form."""
    config = _FORMS[request.param]
    path = _export(config, tmp_path_factory.mktemp("form"))
    return TorchSession(_decoder(config), decoder_spec(config, [1], [_MOST])), path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the plain form in every precision."""
    folder = tmp_path_factory.mktemp("plain")
    fp32 = _export(_PLAIN, folder)
    for precision in (Variant.INT8, Variant.INT4):
        _reduce(fp32, precision)
    return folder


def _open(path: Path) -> Session:
    return open_session("onnxruntime", path, 1, Precision(cache="f32"))


def _inputs(tokens: NDArray[np.int32], position: int, rows: list[int] | None = None) -> Inputs:
    wanted = [tokens.shape[1] - 1] if rows is None else rows
    return {"tokens": tokens, "position": np.array([position], np.int32), "rows": np.array(wanted, np.int32)}


def _new_state(session: Session) -> State:
    state = session.new_state()
    assert state is not None
    return state


def _say(session: Session, steps: int, state: State | None = None, prompt: NDArray[np.int32] = _PROMPT) -> list[int]:
    """Greedy text behind a prompt."""
    state = state or _new_state(session)
    logits = session.run(_inputs(prompt, state.length), state)
    said = []
    for _ in range(steps):
        said.append(int(logits[0].argmax()))
        logits = session.run(_inputs(np.array([[said[-1]]], np.int32), state.length), state)
    return said


def test_logits_of_every_row_are_pytorchs_in_prompt_step_and_continuation(form: tuple[TorchSession, Path]) -> None:
    pytorch, path = form
    states = [(session, _new_state(session)) for session in (_open(path), pytorch)]
    for count in (17, 1, 1, 5, 33, 1):
        tokens, position = _PROMPT[:, :count], states[0][1].length
        given, wanted = (session.run(_inputs(tokens, position, [*range(count)]), state) for session, state in states)
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, wanted, atol=_ATOL)


def test_greedy_text_is_pytorchs(form: tuple[TorchSession, Path]) -> None:
    pytorch, path = form
    said = _say(_open(path), 30)
    assert len(set(said)) > 5  # a model that repeats itself would prove nothing
    assert said == _say(pytorch, 30)


def test_greedy_text_is_pytorchs_while_the_cache_grows(plain: Path) -> None:
    pytorch = TorchSession(_decoder(_PLAIN), _SPEC)
    # The first buffer holds 256 positions, the second 512, the last one the 600 that the file has.
    steps = _MOST - _PROMPT.shape[1]
    assert _say(_open(plain / "fp32.onnx"), steps) == _say(pytorch, steps)


def test_a_prompt_longer_than_the_first_buffer_is_read_at_once(plain: Path) -> None:
    pytorch = TorchSession(_decoder(_PLAIN), _SPEC)
    prompt = np.tile(_PROMPT, 14)
    rows = [0, 300, 559]
    session = _open(plain / "fp32.onnx")
    given, wanted = (one.run(_inputs(prompt, 0, rows), _new_state(one)) for one in (session, pytorch))
    np.testing.assert_allclose(given, wanted, atol=_ATOL)


@pytest.mark.parametrize("rows", [[3], [5, 0, 5], [-1]])
def test_rows_choose_logits_in_their_order(plain: Path, rows: list[int]) -> None:
    session = _open(plain / "fp32.onnx")
    every = session.run(_inputs(_PROMPT[:, :8], 0, [*range(8)]), _new_state(session))
    chosen = session.run(_inputs(_PROMPT[:, :8], 0, rows), _new_state(session))
    np.testing.assert_allclose(chosen, every[rows], atol=1e-5)


def test_a_text_longer_than_the_file_has_positions_is_refused_and_the_state_stays(plain: Path) -> None:
    session = _open(plain / "fp32.onnx")
    state = _new_state(session)
    session.run(_inputs(np.tile(_PROMPT, 15), 0), state)
    with pytest.raises(RuntimeInputError, match="gets 601 tokens long, but the model has 600 positions"):
        session.run(_inputs(_PROMPT[:, :1], 600), state)
    assert state.length == 600
    state.rewind(10)
    assert _say(session, 5, state) == _say(session, 5, _filled(session, 10))


def _filled(session: Session, count: int) -> State:
    state = _new_state(session)
    session.run(_inputs(np.tile(_PROMPT, 15)[:, :count], 0), state)
    return state


def test_rewinding_forgets_what_came_after(plain: Path) -> None:
    session = _open(plain / "fp32.onnx")
    state = _new_state(session)
    said = _say(session, 20, state)
    state.rewind(0)
    assert _say(session, 20, state) == said
    with pytest.raises(RuntimeInputError, match="a state of 60 positions cannot be rewound to 61"):
        state.rewind(61)


def test_a_copy_goes_its_own_way(plain: Path) -> None:
    session = _open(plain / "fp32.onnx")
    state = _new_state(session)
    session.run(_inputs(_PROMPT, 0), state)
    copied = state.copy()
    other = _PROMPT[:, ::-1].copy()
    elsewhere = _say(session, 20, copied, other)
    assert _say(session, 20, state) == _say(session, 20, prompt=np.tile(_PROMPT, 2))
    assert elsewhere == _say(session, 20, prompt=np.concatenate([_PROMPT, other], axis=1))


def test_a_copy_of_an_empty_state_is_empty(plain: Path) -> None:
    session = _open(plain / "fp32.onnx")
    assert _say(session, 5, _new_state(session).copy()) == _say(session, 5)


def test_states_of_one_session_do_not_mix(plain: Path) -> None:
    session = _open(plain / "fp32.onnx")
    first, second = _new_state(session), _new_state(session)
    one = session.run(_inputs(_PROMPT, 0), first)
    kept = one.copy()
    session.run(_inputs(_PROMPT[:, ::-1].copy(), 0), second)
    np.testing.assert_array_equal(one, kept)  # an output survives the next call
    step = _inputs(_PROMPT[:, :1], 40)
    alone = _filled(session, 40)
    np.testing.assert_array_equal(session.run(step, first), session.run(step, alone))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": _PROMPT[0]}, r"'tokens' has the shape \[40\], not \[1, tokens\]"),
        ({"tokens": np.concatenate([_PROMPT, _PROMPT])}, r"'tokens' has the shape \[2, 40\], not \[1, tokens\]"),
        ({"tokens": _PROMPT[:, :0]}, r"'tokens' has the shape \[1, 0\]"),
        ({"position": np.zeros(2, np.int32)}, r"'position' has the shape \[2\], not \[1\]"),
    ],
)
def test_inputs_of_another_shape_are_refused(
    plain: Path, change: Mapping[str, NDArray[np.int32]], message: str
) -> None:
    session = _open(plain / "fp32.onnx")
    state = _new_state(session)
    with pytest.raises(RuntimeInputError, match=message):
        session.run({**_inputs(_PROMPT, 0), **change}, state)
    assert state.length == 0


@pytest.mark.parametrize("precision", [Variant.INT8, Variant.INT4])
def test_a_reduced_decoder_computes_with_its_rounded_weights(
    form: tuple[TorchSession, Path], precision: Variant
) -> None:
    pytorch, fp32 = form
    path = _reduce(fp32, precision)
    rounded = _rounded(pytorch, precision)
    exact, noisy = _score(rounded), _score(_open(path))
    assert np.sqrt(np.mean(np.square(noisy - exact))) < _NOISE * exact.std()
    left = [array.name for array in onnx.load(path).graph.initializer if _is_fp32_matrix(array)]
    assert left == []


def _rounded(session: TorchSession, precision: Variant) -> TorchSession:
    """PyTorch with the products of the layers in int4 with an offset a block of 32; int8 is as good as exact."""
    if precision is Variant.INT8:
        return session
    model = deepcopy(session._module)
    assert isinstance(model, Decoder)
    with torch.no_grad():
        for name, weight in model.layers.named_parameters():
            if weight.ndim == 2:
                blocks = weight.view(weight.shape[0], -1, 32)
                least, most = blocks.amin(2, keepdim=True), blocks.amax(2, keepdim=True)
                step = (most - least) / 15
                blocks.copy_(((blocks - least) / step).round() * step + least)
                assert name
    return TorchSession(model, session._spec)


def _score(session: Session) -> NDArray[np.float32]:
    """Logits of every row of a prompt and of a step behind it."""
    state = _new_state(session)
    prompt = session.run(_inputs(_PROMPT, 0, [*range(40)]), state)
    return np.concatenate([prompt, session.run(_inputs(_PROMPT[:, :1], 40), state)])


def _is_fp32_matrix(array: onnx.TensorProto) -> bool:
    """Whether a constant is a weight that was not rounded."""
    return array.data_type == onnx.TensorProto.FLOAT and array.name.endswith(".weight") and len(array.dims) == 2


def test_int8_says_the_same_in_a_prompt_as_token_by_token(plain: Path) -> None:
    session = _open(plain / "int8.onnx")
    state = _new_state(session)
    steps = [session.run(_inputs(_PROMPT[:, i : i + 1], i), state) for i in range(40)]
    together = session.run(_inputs(_PROMPT, 0, [*range(40)]), _new_state(session))
    np.testing.assert_allclose(np.concatenate(steps), together, atol=1e-3)


def test_int4_with_calibration_texts_rounds_the_feed_forward_parts_alone(plain: Path, tmp_path: Path) -> None:
    path, again = tmp_path / "int4.onnx", tmp_path / "again.onnx"
    for out in (path, again):
        exporter.quantize(plain / "fp32.onnx", _SPEC, _TEXTS, out, precision=Variant.INT4)
    assert path.read_bytes() == again.read_bytes()
    bits = {node.name: _bits(node) for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits"}
    assert {name for name, count in bits.items() if count == 4} == {
        f"layers.{layer}.{part}" for layer in (0, 1) for part in ("gate", "up", "down")
    }
    exact, noisy, affine = (_score(_open(file)) for file in (plain / "fp32.onnx", path, plain / "int4.onnx"))
    lost, lost_affine = (np.sqrt(np.mean(np.square(one - exact))) / exact.std() for one in (noisy, affine))
    assert _NOISE < lost < lost_affine


def _bits(node: onnx.NodeProto) -> int:
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "bits"))


def test_a_layer_that_is_kept_in_float_stays_exact(plain: Path, tmp_path: Path) -> None:
    names = [error.name for error in _errors(plain, Variant.INT4)]
    path = tmp_path / "int4.onnx"
    exporter.quantize(plain / "fp32.onnx", _SPEC, {}, path, precision=Variant.INT4, keep_float=names)
    np.testing.assert_array_equal(_score(_open(path)), _score(_open(plain / "fp32.onnx")))


def test_layer_errors_name_every_product_and_the_noisiest_first(plain: Path) -> None:
    errors = _errors(plain, Variant.INT4)
    parts = ("attention.qkv", "attention.output", "gate", "up", "down")
    assert {error.name for error in errors} == {"embedding", *(f"layers.{i}.{part}" for i in (0, 1) for part in parts)}
    assert errors == sorted(errors, key=lambda error: -error.error)
    assert errors[0].name != "embedding"  # 4 bits lose more than the 8 bits of the table
    assert 0.03 < errors[0].error < 1


def _errors(folder: Path, precision: Variant) -> list[LayerError]:
    return exporter.layer_errors(folder / "fp32.onnx", folder / f"{precision}.onnx", _SPEC, _TEXTS)


def test_exporting_and_reducing_twice_writes_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    fp32 = _export(_PLAIN, tmp_path)
    for path in (fp32, _reduce(fp32, Variant.INT8), _reduce(fp32, Variant.INT4)):
        assert path.read_bytes() == (plain / path.name).read_bytes(), path.name


def test_a_tied_table_is_in_the_file_once(plain: Path) -> None:
    table = _PLAIN.vocabulary * _PLAIN.hidden_dim
    for variant in ("fp32", "int8", "int4"):
        shapes = [array.dims for array in onnx.load(plain / f"{variant}.onnx").graph.initializer]
        assert sum(shape[0] == _PLAIN.vocabulary and np.prod(shape) == table for shape in shapes) == 1, variant


def test_a_product_without_blocks_of_32_has_no_reduced_form(tmp_path: Path) -> None:
    fp32 = _export(replace(_PLAIN, ffn_dim=80), tmp_path)
    with pytest.raises(NotAvailableError, match=r"int4 for fp32.onnx: layers.0.down has 80 inputs, .* blocks of 32"):
        _reduce(fp32, Variant.INT4)
    assert [path.name for path in tmp_path.iterdir()] == ["fp32.onnx"]


@pytest.mark.parametrize(
    ("variant", "precision"),
    [
        (Variant.FP32, Precision("fp32", "fp32", "f32", "f32")),
        (Variant.INT8, Precision("int8", "int8 dynamic", "f32", "f32")),
        (Variant.INT4, Precision("int4", "int8 dynamic", "f32", "f32")),
    ],
)
def test_precision_names_what_a_variant_computes_in(plain: Path, variant: Variant, precision: Precision) -> None:
    file = plain / f"{variant}.onnx"
    assert exporter.precision_of(file, variant, _SPEC, "bf16") == precision
    levels = {
        attribute.i
        for node in onnx.load(file).graph.node
        for attribute in node.attribute
        if attribute.name == "accuracy_level"
    }
    # Level 4 is int8 for activations.
    assert levels == ({4} if variant.is_reduced else set())
