import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.text.encoder import load_encoder
from pipeline.text.tokens import load_tokenizer, tokenize

_TEXTS = ["Read a CSV file.", "Parse a date", "Open a socket, and wait until somebody connects to its port."]


def _ours(folder: Path) -> np.ndarray:
    tokens = tokenize(_TEXTS, load_tokenizer(folder / "tokenizer.json"), 128)
    ids, mask = tokens.batch(np.arange(len(_TEXTS)))
    with torch.inference_mode():
        return load_encoder(folder)(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def _theirs(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(_TEXTS)


def test_the_real_teacher_is_what_sentence_transformers_computes(minilm: Path) -> None:
    ours = _ours(minilm)
    assert ours.shape == (3, 384)
    np.testing.assert_allclose(ours, _theirs(minilm), atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls_token", "mean_tokens"])
def test_a_tiny_teacher_is_too(tmp_path: Path, tiny_teacher: Callable[..., str], pooling: str) -> None:
    tiny_teacher(tmp_path / "t", pooling=pooling)
    np.testing.assert_allclose(_ours(tmp_path / "t"), _theirs(tmp_path / "t"), atol=1e-5)


def test_the_poolings_differ(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    embeddings = []
    for pooling in ("cls_token", "mean_tokens"):
        tiny_teacher(tmp_path / pooling, pooling=pooling)
        embeddings.append(_ours(tmp_path / pooling))
    assert np.abs(embeddings[0] - embeddings[1]).max() > 0.01


def test_a_plain_transformer_folder_is_mean_pooled(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    tiny_teacher(tmp_path / "t")
    wanted = _ours(tmp_path / "t")
    (tmp_path / "t" / "modules.json").unlink()
    (tmp_path / "t" / "1_Pooling" / "config.json").unlink()
    np.testing.assert_array_equal(_ours(tmp_path / "t"), wanted)


def test_a_half_precision_checkpoint_is_run_in_float(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    from safetensors.torch import load_file, save_file

    tiny_teacher(tmp_path / "t")
    wanted = _ours(tmp_path / "t")
    path = tmp_path / "t" / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    halved = _ours(tmp_path / "t")
    assert halved.dtype == np.float32
    np.testing.assert_allclose(halved, wanted, atol=2e-3)


def test_another_pooling_is_refused(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    tiny_teacher(tmp_path / "t", pooling="max_tokens")
    with pytest.raises(InputError, match=r"1_Pooling/config\.json: pooling pooling_mode_max_tokens is not supported"):
        load_encoder(tmp_path / "t")


def test_a_module_that_would_be_left_out_is_refused(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    tiny_teacher(tmp_path / "t")
    path = tmp_path / "t" / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([*modules, {"idx": 3, "type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(InputError, match=r"modules\.json: module Dense is not supported"):
        load_encoder(tmp_path / "t")


def test_settings_that_are_no_json_are_named(tmp_path: Path, tiny_teacher: Callable[..., str]) -> None:
    tiny_teacher(tmp_path / "t")
    (tmp_path / "t" / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"1_Pooling/config\.json is not valid JSON"):
        load_encoder(tmp_path / "t")
