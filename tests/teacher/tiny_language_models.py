"""Tiny decoders with random weights: of transformers in safetensors, and the same as GGUF files; and a tokenizer."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pipeline.files import sha256
from pipeline.teacher.sources import Checkpoint

VOCABULARY, HIDDEN, HEADS, KV_HEADS, FFN, LAYERS, POSITIONS = 300, 64, 4, 2, 96, 2, 64
END = "<|endoftext|>"
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
TEXT = "The capital of France is Paris. Returns 2024 rows, as in   x = f(12, 345).\n    It doesn't fail. " * 20
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "intermediate_size": FFN,
    "max_position_embeddings": POSITIONS,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": HIDDEN,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": POSITIONS,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
FAMILIES: Mapping[str, Callable[..., PreTrainedModel]] = {
    "llama": lambda **more: LlamaForCausalLM(LlamaConfig(**{**_SIZES, **more})),
    "qwen2": lambda **more: Qwen2ForCausalLM(Qwen2Config(**{**_SIZES, **more})),
    "qwen3": lambda **more: Qwen3ForCausalLM(Qwen3Config(**{**_SIZES, "head_dim": 24, **more})),
    "gpt2": lambda **more: GPT2LMHeadModel(GPT2Config(**{**_GPT2_SIZES, **more})),
}


def random_model(family: str, tied: bool = True, **more: Any) -> PreTrainedModel:
    """A model of a family in which every weight matters: norms are not 1, biases not 0."""
    torch.manual_seed(0)
    model = FAMILIES[family](tie_word_embeddings=tied, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.sign() * 0.5 + torch.randn_like(parameter) * 0.2)
            if parameter.ndim == 2:
                parameter *= 0.3
    return model.eval()


def tokenizer(vocabulary: int = VOCABULARY, text: str = TEXT) -> Tokenizer:
    """Byte-level BPE as SmolLM2's, trained on `text`, with its first three tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([text], trainer)
    return made


def write_folder(folder: Path, model: PreTrainedModel) -> Checkpoint:
    """A folder as transformers writes it, with a tokenizer."""
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return checkpoint(folder)


def checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder, as `sources.find` gives it."""
    return Checkpoint(folder, f"path {folder}", sha256(folder / "model.safetensors"))


def gguf_checkpoint(path: Path) -> Checkpoint:
    """A GGUF file, as `sources.find` gives it."""
    return Checkpoint(path.parent, f"gguf {path}", sha256(path), gguf=path)


def interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of queries or keys of transformers in llama.cpp's order: first of each half, second of each half, and on."""
    size = rows.shape[0] // heads
    order = [
        head * size + half * size // 2 + pair for head in range(heads) for pair in range(size // 2) for half in (0, 1)
    ]
    return np.ascontiguousarray(rows[order])


def gguf_tensors(model: PreTrainedModel, architecture: str) -> dict[str, NDArray[np.float32]]:
    """The weights of a model of transformers by llama.cpp's names, in its order of rows."""
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers": "blk",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        for theirs, theirs_in_gguf in names.items():
            name = name.replace(theirs, theirs_in_gguf)
        array = tensor.numpy()
        if architecture == "llama" and ("attn_q." in name or "attn_k." in name):
            array = interleaved(array, HEADS if "attn_q." in name else KV_HEADS)
        tensors[name] = array
    return tensors


def write_gguf(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    architecture: str = "llama",
    kinds: Mapping[str, gguf.GGMLQuantizationType] | None = None,
    edit: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    pre: str = "smollm",
    head_dim: int | None = None,
) -> Checkpoint:
    """A GGUF file of `tensors`; those in `kinds` are quantized; `edit` writes metadata besides."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    if head_dim is not None:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    for write in _tokenizer_metadata(writer, pre):
        write()
    edit(writer)
    for name, array in tensors.items():
        kind = (kinds or {}).get(name)
        if kind is None:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf_checkpoint(path)


def _tokenizer_metadata(writer: gguf.GGUFWriter, pre: str) -> Iterator[Callable[[], None]]:
    content = json.loads(tokenizer().to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].__getitem__)
    yield lambda: writer.add_tokenizer_model("gpt2")
    yield lambda: writer.add_tokenizer_pre(pre)
    yield lambda: writer.add_token_list(tokens)
    yield lambda: writer.add_token_types([3 if index < 3 else 1 for index in range(len(tokens))])
    yield lambda: writer.add_token_merges([" ".join(pair) for pair in content["merges"]])
    yield lambda: writer.add_bos_token_id(1)
    yield lambda: writer.add_eos_token_id(2)
    yield lambda: writer.add_chat_template(TEMPLATE)
