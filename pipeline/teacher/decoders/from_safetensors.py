"""Decoders in folders of transformers: Llama (SmolLM2), Qwen2, Qwen3 and GPT-2 in safetensors."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import InputError, IntegrityError
from pipeline.students.decoder import DecoderConfig
from pipeline.teacher.decoders.configuration import read_configuration
from pipeline.teacher.decoders.tensors import Plan, Taken, require_layers

# The names of a layer's matrices and norms, ours first.
_MATRICES = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_WITH_BIAS = ("attention.query", "attention.key", "attention.value")
_NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_HEAD_NORMS = {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}
_GPT2_NORMS = {"attention_norm": "ln_1", "ffn_norm": "ln_2"}
_GPT2_MATRICES = {"attention.output": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
# Constants that older files carry beside the weights.
_CONSTANTS = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")


def plan(path: Path) -> Plan:
    """How a folder with `config.json` becomes a decoder; `path` is its safetensors file.

    Raises:
        InputError: it is no decoder of a family that is read, or it asks for what our decoder does not do.
        IntegrityError: the file is truncated, or no safetensors file.
    """
    config, is_gpt2 = read_configuration(path.parent)
    names = _names(path)
    require_layers(config.layers, names, path)
    taken = dict(_gpt2(config, names) if is_gpt2 else _llama(config, names))
    ignored = [name for name in names if name.endswith(_CONSTANTS)] + (["lm_head.weight"] if config.tied else [])
    return Plan(path, config, taken, names, partial(_read, path), ignored)


def _names(path: Path) -> tuple[str, ...]:
    try:
        with safe_open(path, framework="pt") as file:
            return tuple(file.keys())
    except SafetensorError as error:
        raise IntegrityError(f"{path} is truncated or no safetensors file ({error}): get it again") from error


def _read(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(f"{path}: tensor {name} is in {kind}, which is not read: take a checkpoint in floating point")
    return tensor.float()


def _llama(config: DecoderConfig, names: Collection[str]) -> Iterator[tuple[str, Taken]]:
    root = "model." if "model.embed_tokens.weight" in names else ""
    yield "embedding.weight", Taken(f"{root}embed_tokens.weight")
    yield "norm.weight", Taken(f"{root}norm.weight")
    if not config.tied:
        yield "head.weight", Taken("lm_head.weight")
    norms: Mapping[str, str] = {**_NORMS, **(_HEAD_NORMS if config.qk_norm else {})}
    for index in range(config.layers):
        for ours, theirs in {**norms, **_MATRICES}.items():
            yield f"layers.{index}.{ours}.weight", Taken(f"{root}layers.{index}.{theirs}.weight")
            if config.qkv_bias and ours in _WITH_BIAS:
                yield f"layers.{index}.{ours}.bias", Taken(f"{root}layers.{index}.{theirs}.bias")


def _gpt2(config: DecoderConfig, names: Collection[str]) -> Iterator[tuple[str, Taken]]:
    root = "transformer." if "transformer.wte.weight" in names else ""
    yield "embedding.weight", Taken(f"{root}wte.weight")
    yield "positions.weight", Taken(f"{root}wpe.weight")
    if not config.tied:
        yield "head.weight", Taken("lm_head.weight")
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", Taken(f"{root}ln_f.{kind}")
        for index in range(config.layers):
            ours, theirs = f"layers.{index}.", f"{root}h.{index}."
            for name, other in _GPT2_NORMS.items():
                yield f"{ours}{name}.{kind}", Taken(f"{theirs}{other}.{kind}")
            for name, other in _GPT2_MATRICES.items():
                yield f"{ours}{name}.{kind}", Taken(f"{theirs}{other}.{kind}", _turned)
            for part, name in enumerate(_WITH_BIAS):
                yield f"{ours}{name}.{kind}", Taken(f"{theirs}attn.c_attn.{kind}", partial(_third, part=part))


def _turned(tensor: Tensor) -> Tensor:
    """GPT-2's matrices are `[in, out]`; ours, as PyTorch's, `[out, in]`. A bias stays what it is."""
    return tensor.transpose(0, -1)


def _third(tensor: Tensor, part: int) -> Tensor:
    """Queries, keys or values out of the three that GPT-2 keeps side by side."""
    return _turned(torch.chunk(tensor, 3, dim=-1)[part])
