"""Saving and loading a student (`config.json` and `model.safetensors`) and arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from pipeline import files
from pipeline.checkpoints import load_strictly, read_tensors
from pipeline.errors import IntegrityError
from pipeline.layout import CONFIG, WEIGHTS
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig


def save_model(model: TextEncoder, folder: Path) -> None:
    """Write a student's config and weights into an existing folder."""
    files.write_json(folder / CONFIG, model.config.as_json())
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)


def load_model(folder: Path) -> TextEncoder:
    """Load a student, in evaluation mode.

    Raises:
        IntegrityError: a file is missing or damaged, or the weights do not fit the config; tensors are named.
    """
    config = files.read_json(folder / CONFIG)
    try:
        config = TextEncoderConfig(**{**config, "ffn_dims": tuple(config["ffn_dims"])})
    except (TypeError, KeyError) as error:
        raise IntegrityError(
            f"{folder / CONFIG} is no configuration of a text encoder ({error}): run `dvc repro`"
        ) from error
    with torch.device("meta"):
        model = TextEncoder(config)
    model = model.to_empty(device="cpu")
    load_strictly(model, read_tensors(folder / WEIGHTS), folder / WEIGHTS)
    return model.eval()


def save_tensors(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write numpy arrays as safetensors."""
    save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays of a safetensors file.

    Raises:
        IntegrityError: the file is missing, truncated, or no safetensors file.
    """
    return {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
