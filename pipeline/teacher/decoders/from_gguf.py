"""Decoders in GGUF files: the architectures llama (SmolLM2 is one), qwen2 and qwen3."""

from collections.abc import Iterator
from functools import partial
from math import inf
from pathlib import Path

from torch import Tensor

from pipeline.errors import InputError
from pipeline.students.decoder import DecoderConfig
from pipeline.teacher.decoders.gguf_file import GgufFile
from pipeline.teacher.decoders.tensors import Plan, Taken, as_it_is, require_layers

ARCHITECTURES = ("llama", "qwen2", "qwen3")
# What would make another model of the same tensors; each with the values at which it does nothing.
_WITHOUT_EFFECT = {
    "expert_count": (0,),
    "rope.scaling.type": ("none",),
    "rope.scaling.factor": (1.0,),
    "rope.scale_linear": (1.0,),
    "attention.sliding_window": (0,),
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "embedding_scale": (0.0, 1.0),
}
_FREQUENCIES = "rope_freqs.weight"
# The names of a layer's matrices and norms, ours first.
_MATRICES = {
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_NORMS = {"attention_norm": "attn_norm", "ffn_norm": "ffn_norm"}
_HEAD_NORMS = {"attention.query_norm": "attn_q_norm", "attention.key_norm": "attn_k_norm"}


def plan(path: Path) -> Plan:
    """How a GGUF file becomes a decoder; see `plan_of`.

    Raises:
        IntegrityError: it is no GGUF file, or a damaged one.
    """
    return plan_of(GgufFile(path))


def plan_of(file: GgufFile) -> Plan:
    """How an opened GGUF file becomes a decoder.

    Raises:
        InputError: its architecture is not read, or its metadata ask for what our decoder does not do.
    """
    if file.architecture not in ARCHITECTURES:
        raise InputError(
            f"{file.path}: general.architecture is {file.architecture or 'missing'}, which is not read; "
            f"{', '.join(ARCHITECTURES)} are"
        )
    for key, harmless in _WITHOUT_EFFECT.items():
        if (value := file.own(key)) is not None and value not in harmless:
            raise InputError(
                f"{file.path}: {file.architecture}.{key} is {value}, which our decoder does not do: "
                "take another checkpoint"
            )
    if _FREQUENCIES in file.tensors:
        raise InputError(
            f"{file.path}: {_FREQUENCIES} scales the rotary frequencies (Llama 3.1 and later), which our decoder "
            "does not do: take another checkpoint"
        )
    config = _config(file)
    require_layers(config.layers, file.tensors, file.path)
    return Plan(file.path, config, dict(_taken(file, config)), tuple(file.tensors), file.read)


def _config(file: GgufFile) -> DecoderConfig:
    hidden, heads = _number(file, "embedding_length"), _number(file, "attention.head_count")
    head_dim = _number(file, "attention.key_length", hidden // heads)
    turned, value_dim = file.own("rope.dimension_count", head_dim), file.own("attention.value_length", head_dim)
    for key, observed in (("rope.dimension_count", turned), ("attention.value_length", value_dim)):
        if observed != head_dim:
            raise InputError(
                f"{file.path}: {file.architecture}.{key} is {observed}, and a head has {head_dim}: "
                "our decoder turns whole heads of one size"
            )
    kv_heads = _number(file, "attention.head_count_kv", heads)
    if heads % kv_heads or head_dim % 2:
        raise InputError(
            f"{file.path}: {heads} heads of {head_dim} features and {kv_heads} heads of keys make no decoder: "
            "the former must be a multiple of the latter, and a head even"
        )
    return DecoderConfig(
        vocabulary=_vocabulary(file),
        hidden_dim=hidden,
        layers=_number(file, "block_count"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_dim=_number(file, "feed_forward_length"),
        rope_theta=_measure(file, "rope.freq_base", 10000.0),
        norm_epsilon=_measure(file, "attention.layer_norm_rms_epsilon", 1e-5),
        max_tokens=_number(file, "context_length"),
        qkv_bias="blk.0.attn_q.bias" in file.tensors,
        qk_norm="blk.0.attn_q_norm.weight" in file.tensors,
        tied="output.weight" not in file.tensors,
    )


def _vocabulary(file: GgufFile) -> int:
    """Rows of the table; its first axis in PyTorch's order is the last one in GGUF's."""
    table = file.tensors.get("token_embd.weight")
    if table is not None and len(table.shape) == 2:
        return int(table.shape[1])
    return _number(file, "vocab_size")


def _number(file: GgufFile, key: str, default: int | None = None) -> int:
    value = file.own(key, default)
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{file.path}: {file.architecture}.{key} is {value}; one whole number above 0 is needed")
    return value


def _measure(file: GgufFile, key: str, default: float) -> float:
    """A float32 as it was written before it was one: 1e-05 and not 9.999999747378752e-06."""
    value = file.own(key, default)
    if not isinstance(value, int | float) or not 0 < value < inf:
        raise InputError(f"{file.path}: {file.architecture}.{key} is {value}; a finite number above 0 is needed")
    return float(f"{value:.7g}")


def _taken(file: GgufFile, config: DecoderConfig) -> Iterator[tuple[str, Taken]]:
    yield "embedding.weight", Taken("token_embd.weight")
    yield "norm.weight", Taken("output_norm.weight")
    if not config.tied:
        yield "head.weight", Taken("output.weight")
    for index in range(config.layers):
        for ours, theirs in {**_NORMS, **(_HEAD_NORMS if config.qk_norm else {})}.items():
            yield f"layers.{index}.{ours}.weight", Taken(f"blk.{index}.{theirs}.weight")
        for ours, theirs in _MATRICES.items():
            change = as_it_is
            if file.architecture == "llama" and theirs in ("attn_q", "attn_k"):
                change = partial(halves, heads=config.heads if theirs == "attn_q" else config.kv_heads)
            yield f"layers.{index}.{ours}.weight", Taken(f"blk.{index}.{theirs}.weight", change)
            if config.qkv_bias and theirs in ("attn_q", "attn_k", "attn_v"):
                yield f"layers.{index}.{ours}.bias", Taken(f"blk.{index}.{theirs}.bias", change)


def halves(rows: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys, `[heads * head_dim, ...]`, from llama.cpp's order to transformers'.

    llama.cpp turns neighbours of a head, transformers (and our decoder) its halves: `LlamaModel.permute` of llama.cpp's
    convert_hf_to_gguf.py, undone.
    """
    pairs = rows.shape[0] // heads // 2
    return rows.reshape(heads, pairs, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
