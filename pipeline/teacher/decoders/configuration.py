"""`config.json` of a language model of transformers, as the configuration of our decoder.

What would make another model of the same tensors is refused by the name of its key: nothing is left out in silence.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.layout import CONFIG
from pipeline.students.decoder import DecoderConfig

_GPT2 = "gpt2"
_ENCODERS = (
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "mpnet",
    "electra",
    "deberta-v2",
    "modernbert",
    "nomic_bert",
)
# The values at which a key asks for nothing beyond what our decoder does.
_LLAMA_VALUES: Mapping[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "num_local_experts": (0, 1),
    "num_experts": (0, 1),
    "quantization_config": (),
}
_GPT2_VALUES: Mapping[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (),
}


def read_configuration(folder: Path) -> tuple[DecoderConfig, bool]:
    """The configuration of the decoder in `folder`, and whether its tensors are laid out as GPT-2's.

    Raises:
        InputError: config.json is no valid one, of another family, or asks for what our decoder does not do.
    """
    path = folder / CONFIG
    written = _json(path)
    family = str(written.get("model_type", "missing"))
    if family not in _FAMILIES:
        raise InputError(f"{path}: model_type is {family}{_hint(family)}; {', '.join(_FAMILIES)} are read")
    described = _filled(folder, path)
    for key, allowed in (_GPT2_VALUES if family == _GPT2 else _LLAMA_VALUES).items():
        if (value := described.get(key)) is not None and value not in allowed:
            expected = f"; {' or '.join(map(str, allowed))} is read" if allowed else ""
            raise InputError(
                f"{path}: {key} is {value}, which our decoder does not do{expected}: take another checkpoint"
            )
    try:
        return _FAMILIES[family](described, path), family == _GPT2
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path} describes no decoder: {error}") from error


def _filled(folder: Path, path: Path) -> dict[str, Any]:
    """All keys, with the defaults of transformers where the file leaves them out."""
    # Slow to import, and only a stage that reads a teacher needs it.
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        described: dict[str, Any] = AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()
    except (ValueError, TypeError, KeyError, OSError, StrictDataclassError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is refused by transformers: {reason}") from error
    return described


def _llama(described: Mapping[str, Any], path: Path) -> DecoderConfig:
    rope = described["rope_parameters"]
    if (kind := rope.get("rope_type", "default")) != "default" or rope.get("partial_rotary_factor", 1) != 1:
        raise InputError(
            f"{path}: rope_scaling (rope_parameters) is {kind}: {dict(rope)}, which our decoder does not do; "
            "it turns all of a head by rope_theta alone: take another checkpoint"
        )
    hidden, heads = described["hidden_size"], described["num_attention_heads"]
    return DecoderConfig(
        vocabulary=described["vocab_size"],
        hidden_dim=hidden,
        layers=described["num_hidden_layers"],
        heads=heads,
        kv_heads=described["num_key_value_heads"] or heads,
        head_dim=described.get("head_dim") or hidden // heads,
        ffn_dim=described["intermediate_size"],
        rope_theta=float(rope["rope_theta"]),
        norm_epsilon=described["rms_norm_eps"],
        max_tokens=described["max_position_embeddings"],
        qkv_bias=described["model_type"] == "qwen2",
        qk_norm=described["model_type"] == "qwen3",
        tied=described["tie_word_embeddings"],
    )


def _gpt2(described: Mapping[str, Any], path: Path) -> DecoderConfig:
    hidden, heads = described["n_embd"], described["n_head"]
    if hidden % heads:
        raise InputError(f"{path}: n_embd {hidden} is not a multiple of n_head {heads}")
    return DecoderConfig(
        vocabulary=described["vocab_size"],
        hidden_dim=hidden,
        layers=described["n_layer"],
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        ffn_dim=described["n_inner"] or 4 * hidden,
        rope_theta=1.0,
        norm_epsilon=described["layer_norm_epsilon"],
        max_tokens=described["n_positions"],
        qkv_bias=True,
        tied=described["tie_word_embeddings"],
        norm="layer",
        positions="learned",
        feed_forward="gelu",
        other_biases=True,
    )


_FAMILIES: Mapping[str, Callable[[Mapping[str, Any], Path], DecoderConfig]] = {
    "llama": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    _GPT2: _gpt2,
}


def _hint(family: str) -> str:
    if family in _ENCODERS:
        return ", an encoder, which does not write text (it is a teacher for the task sentence_embedding)"
    return ", which is not read as a decoder"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; an object is needed")
    return content
