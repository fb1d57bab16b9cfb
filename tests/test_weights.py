import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import IntegrityError
from pipeline.students import load_model, save_model
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.weights import load_tensors, save_tensors


def _student() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextEncoderConfig(20, 6, 8, 2, (16, 24), 12, 10)).eval()


def test_a_student_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    model = _student()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, TextEncoder)
    assert loaded.config == model.config
    assert not loaded.training
    ids = torch.tensor([[3, 1, 2]], dtype=torch.int32)
    assert torch.equal(loaded(ids, torch.ones_like(ids)), model(ids, torch.ones_like(ids)))


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_model(_student(), tmp_path / name)
        files.append([(tmp_path / name / file).read_bytes() for file in ("config.json", "model.safetensors")])
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 3}, "no configuration of a student .*layers"),
        ({"hidden_dim": 16}, r"tensor layers\.0\.attention\.out\.bias has shape \[8\], not \[16\]"),
        ({"ffn_dims": [16]}, r"unexpected tensor layers\.1\.ffn_in\.weight"),
        ({"vocabulary": 21}, r"tensor tokens\.weight has shape \[20, 6\], not \[21, 6\]"),
    ],
)
def test_a_config_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    save_model(_student(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(IntegrityError, match=rf"(?s){message}"):
        load_model(tmp_path)


def test_a_config_without_a_key_is_named(tmp_path: Path) -> None:
    save_model(_student(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["ffn_dims"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(IntegrityError, match=r"config\.json is no configuration of a student \('ffn_dims'\)"):
        load_model(tmp_path)


def test_a_student_with_nan_is_refused(tmp_path: Path) -> None:
    save_model(_student(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["output.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"tensor output\.weight holds 1 values that are NaN"):
        load_model(tmp_path)


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"config\.json is missing: run `dvc repro`"):
        load_model(tmp_path)


def test_arrays_come_back_with_their_types_even_from_a_view(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(12, dtype=np.int32).reshape(3, 4).T,
        "b": np.array([0.5, -1.0], np.float16),
        "c": np.arange(5, dtype=np.int64)[::2],
    }
    save_tensors(arrays, tmp_path / "x.safetensors")
    loaded = load_tensors(tmp_path / "x.safetensors")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_damaged_arrays_are_named(tmp_path: Path) -> None:
    save_tensors({"a": np.zeros(100)}, tmp_path / "x.safetensors")
    raw = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(raw[:-8])
    with pytest.raises(IntegrityError, match=r"x\.safetensors is truncated"):
        load_tensors(tmp_path / "x.safetensors")
