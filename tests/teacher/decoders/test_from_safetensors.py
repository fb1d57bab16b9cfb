import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from pipeline import students
from pipeline.errors import InputError, IntegrityError
from pipeline.students.decoder import Decoder
from pipeline.teacher.decoders import load
from tests.teacher import tiny_language_models as tiny

_IDS = torch.tensor([[5, 17, 200, 3, 3, 299, 42, 0, 1, 128, 9], [7, 7, 8, 9, 11, 250, 251, 4, 2, 60, 61]])


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_logits_are_those_of_transformers(tmp_path: Path, family: str, tied: bool) -> None:
    theirs = tiny.random_model(family, tied)
    ours = load(tiny.write_folder(tmp_path, theirs))
    with torch.no_grad():
        expected, observed = theirs(_IDS).logits, ours.logits(_IDS)
    assert expected.std() > 0.5
    torch.testing.assert_close(observed, expected, atol=1e-4, rtol=0)
    assert ours.config.tied is tied and not ours.training


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_text_that_is_fed_in_parts_through_the_cache_gives_the_same_logits(tmp_path: Path, family: str) -> None:
    ours = load(tiny.write_folder(tmp_path, tiny.random_model(family)))
    config, ids = ours.config, _IDS[:1]
    state = [torch.zeros(1, config.kv_heads, 16, config.head_dim) for _ in range(2 * config.layers)]
    rows = []
    with torch.no_grad():
        for start, end in ((0, 6), (6, 7), (7, 11)):
            logits, *state = ours(ids[:, start:end], torch.tensor([start]), torch.arange(end - start), *state)
            rows.append(logits)
        torch.testing.assert_close(torch.cat(rows), ours.logits(ids)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_was_read_is_written_and_loaded_as_a_student(tmp_path: Path, family: str) -> None:
    ours = load(tiny.write_folder(tmp_path / "theirs", tiny.random_model(family)))
    (tmp_path / "ours").mkdir()
    students.save_model(ours, tmp_path / "ours")
    again = students.load_model(tmp_path / "ours", Decoder)
    with torch.no_grad():
        assert torch.equal(again.logits(_IDS), ours.logits(_IDS))


def test_gpt2_is_read_without_the_prefix_of_its_names_too(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("gpt2"))
    expected = load(checkpoint).state_dict()
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(checkpoint.weights).items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    save_file(tensors, checkpoint.weights)
    observed = load(checkpoint).state_dict()
    assert all(torch.equal(observed[name], tensor) for name, tensor in expected.items())


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    ours = load(tiny.write_folder(tmp_path, tiny.random_model("llama").to(torch.bfloat16)))
    assert {tensor.dtype for tensor in ours.state_dict().values()} == {torch.float32}


def test_engines_refuse_gpt2_alone_and_say_why(tmp_path: Path) -> None:
    configs = {name: load(tiny.write_folder(tmp_path / name, tiny.random_model(name))).config for name in tiny.FAMILIES}
    assert {name for name, config in configs.items() if config.unsupported_by_engines()} == {"gpt2"}
    assert configs["gpt2"].unsupported_by_engines() == (
        "has LayerNorm, learned positions, a feed-forward part with GELU, "
        "biases beyond those of queries, keys and values"
    )


@pytest.mark.parametrize(
    ("family", "key", "value", "message"),
    [
        ("llama", "hidden_act", "gelu", r"hidden_act is gelu, which our decoder does not do; silu is read"),
        ("llama", "attention_bias", True, r"attention_bias is True.*False is read"),
        ("llama", "mlp_bias", True, r"mlp_bias is True"),
        (
            "llama",
            "rope_parameters",
            {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
            r"rope_scaling \(rope_parameters\) is linear",
        ),
        ("llama", "quantization_config", {"quant_method": "gptq", "bits": 4}, r"quantization_config is .*gptq"),
        ("qwen2", "use_sliding_window", True, r"use_sliding_window is True"),
        ("qwen3", "attention_bias", True, r"attention_bias is True"),
        ("gpt2", "activation_function", "relu", r"activation_function is relu.*gelu_new or gelu_pytorch_tanh is read"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True, r"scale_attn_by_inverse_layer_idx is True"),
        ("gpt2", "n_head", 7, r"n_embd 64 is not a multiple of n_head 7"),
        (
            "llama",
            "num_key_value_heads",
            3,
            r"config\.json describes no decoder: heads 4 is not a multiple of kv_heads 3",
        ),
        ("llama", "num_hidden_layers", "many", r"config\.json is refused by transformers"),
        ("llama", "model_type", "mixtral", r"model_type is mixtral.*llama, qwen2, qwen3, gpt2 are read"),
    ],
)
def test_what_our_decoder_does_not_do_is_named_by_its_key(
    tmp_path: Path, family: str, key: str, value: Any, message: str
) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model(family))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(InputError, match=message):
        load(checkpoint)


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**sizes, intermediate_size=16)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"model_type is bert, an encoder, which does not write text"):
        load(tiny.checkpoint(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_no_object_is_named(tmp_path: Path, text: str) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("llama"))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json (is not valid JSON|holds a list; an object is needed)"):
        load(checkpoint)


def test_tensors_that_are_missing_or_too_much_are_named_as_the_file_names_them(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("qwen2"))
    tensors = load_file(checkpoint.weights)
    tensors["model.layers.0.mlp.router.weight"] = tensors.pop("model.layers.1.self_attn.k_proj.bias")
    save_file(tensors, checkpoint.weights)
    with pytest.raises(IntegrityError) as caught:
        load(checkpoint)
    assert str(caught.value).splitlines()[1:] == [
        "  missing tensor model.layers.1.self_attn.k_proj.bias",
        "  unexpected tensor model.layers.0.mlp.router.weight",
    ]


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("llama"))
    tensors = load_file(checkpoint.weights)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-1].clone()
    save_file(tensors, checkpoint.weights)
    with pytest.raises(IntegrityError, match=r"tensor embedding\.weight has shape \[299, 64\], not \[300, 64\]"):
        load(checkpoint)


def test_weights_that_are_nan_are_named(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("gpt2"))
    tensors = load_file(checkpoint.weights)
    tensors["transformer.h.1.attn.c_attn.weight"][3, 70] = torch.nan
    save_file(tensors, checkpoint.weights)
    with pytest.raises(IntegrityError, match=r"layers\.1\.attention\.key\.weight holds 1 values that are NaN"):
        load(checkpoint)


def test_weights_in_integers_are_named(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("llama"))
    tensors = load_file(checkpoint.weights)
    name = "model.layers.0.mlp.up_proj.weight"
    save_file({**tensors, name: tensors[name].to(torch.int8)}, checkpoint.weights)
    with pytest.raises(InputError, match=r"mlp\.up_proj\.weight is in int8, which is not read"):
        load(checkpoint)


def test_a_truncated_file_is_an_integrity_error(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("llama"))
    checkpoint.weights.write_bytes(checkpoint.weights.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match=r"model\.safetensors is truncated or no safetensors file"):
        load(checkpoint)


def test_reading_moves_nobodys_random_numbers(tmp_path: Path) -> None:
    checkpoint = tiny.write_folder(tmp_path, tiny.random_model("llama"))
    before = torch.random.get_rng_state()
    load(checkpoint)
    assert torch.equal(torch.random.get_rng_state(), before)
