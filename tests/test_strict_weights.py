from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import IntegrityError
from pipeline.text.encoder import load_encoder
from pipeline.weights import compare, read_tensors

_QUERY = "encoder.layer.0.attention.self.query.weight"
_NORM = "embeddings.LayerNorm.bias"
_Tensors = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path, tiny_teacher: Callable[..., str]) -> Path:
    tiny_teacher(tmp_path / "tiny")
    return tmp_path / "tiny"


def _rewrite(folder: Path, change: Callable[[_Tensors], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_whole_checkpoint_is_loaded_as_it_is(folder: Path) -> None:
    loaded = load_encoder(folder).transformer.state_dict()
    tensors = load_file(folder / "model.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_the_positions_of_older_exports_are_no_weight(folder: Path) -> None:
    _rewrite(folder, lambda t: t.update({"embeddings.position_ids": torch.arange(512)[None]}))
    encoder = load_encoder(folder)
    assert torch.equal(encoder.transformer.embeddings.position_ids, torch.arange(512)[None])


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.5, 0.999])
def test_a_truncated_file_is_named(folder: Path, kept: float) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(IntegrityError, match=r"model\.safetensors is truncated or no safetensors file"):
        load_encoder(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"model\.safetensors is missing"):
        load_encoder(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    _rewrite(folder, lambda t: t.pop(_QUERY))
    with pytest.raises(IntegrityError, match=rf"missing tensor {_QUERY} \[32, 32\]"):
        load_encoder(folder)


def test_an_unexpected_tensor_is_named(folder: Path) -> None:
    _rewrite(folder, lambda t: t.update({"encoder.extra": torch.zeros(3)}))
    with pytest.raises(IntegrityError, match=r"unexpected tensor encoder\.extra \[3\]"):
        load_encoder(folder)


def test_another_shape_is_named_with_both(folder: Path) -> None:
    _rewrite(folder, lambda t: t.update({_QUERY: torch.zeros(32, 31)}))
    with pytest.raises(IntegrityError, match=rf"tensor {_QUERY} has shape \[32, 31\], not \[32, 32\]"):
        load_encoder(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_counted(folder: Path, value: float) -> None:
    _rewrite(folder, lambda t: t[_NORM][3:5].fill_(value))
    with pytest.raises(IntegrityError, match=rf"tensor {_NORM} holds 2 values that are NaN or infinite"):
        load_encoder(folder)


def test_all_problems_are_named_together(folder: Path) -> None:
    def damage(tensors: _Tensors) -> None:
        tensors.pop(_QUERY)
        tensors["encoder.extra"] = torch.zeros(3)
        tensors[_NORM][0] = float("nan")

    _rewrite(folder, damage)
    with pytest.raises(IntegrityError, match="does not fit its model") as caught:
        load_encoder(folder)
    assert len(str(caught.value).splitlines()) == 4


def test_the_checkpoint_of_another_architecture_is_cut_to_a_few_lines(folder: Path) -> None:
    def rename(tensors: _Tensors) -> None:
        for name in list(tensors):
            tensors[f"roberta.{name}"] = tensors.pop(name)

    _rewrite(folder, rename)
    with pytest.raises(IntegrityError, match=r"and \d+ more") as caught:
        load_encoder(folder)
    assert len(str(caught.value).splitlines()) == 10


def test_the_same_tensors_have_no_problems_and_integers_are_not_asked_for_nan() -> None:
    tensors = {"a": torch.ones(2), "b": torch.arange(3)}
    assert compare(tensors, tensors) == []


def test_another_format_is_no_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(IntegrityError, match=r"x\.safetensors is truncated or no safetensors file"):
        read_tensors(tmp_path / "x.safetensors")
