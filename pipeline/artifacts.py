"""Saving and loading a student (`config.json` and `model.safetensors`) and arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import nn

from pipeline import files, students
from pipeline.checkpoints import load_strictly, read_tensors
from pipeline.errors import InputError, IntegrityError
from pipeline.layout import CONFIG, WEIGHTS
from pipeline.students.base import Config

Model = TypeVar("Model", bound=nn.Module)


def save_model(model: nn.Module, folder: Path) -> None:
    """Write a student's config and weights into an existing folder; a module's `config` is of `students.base`."""
    config: Config = model.config  # type: ignore[assignment]
    files.write_json(folder / CONFIG, config.as_json())
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)


@overload
def load_model(folder: Path) -> nn.Module: ...


@overload
def load_model(folder: Path, kind: type[Model]) -> Model: ...


def load_model(folder: Path, kind: type[nn.Module] = nn.Module) -> nn.Module:
    """Load a student, pruned or not, in evaluation mode.

    Args:
        folder: with what `save_model` wrote.
        kind: the student that it must be.

    Raises:
        IntegrityError: a file is missing or damaged, it is another student, or the weights do not fit the config;
            tensors are named.
    """
    config = files.read_json(folder / CONFIG)
    # Initial weights that are replaced at once must not move the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        try:
            model = students.build(config)
        except (TypeError, KeyError, ValueError, InputError) as error:
            raise IntegrityError(
                f"{folder / CONFIG} is no configuration of a student ({error}): run `dvc repro`"
            ) from error
    if not isinstance(model, kind):
        raise IntegrityError(f"{folder} holds a {type(model).__name__}, not a {kind.__name__}: run `dvc repro`")
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
