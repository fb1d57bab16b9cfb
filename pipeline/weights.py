"""Tensors in files, and loading weights that must be exactly what a model needs: every tensor, its shape, no NaN."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import IntegrityError, listed

_SHOWN = 8


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write PyTorch tensors as safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def save_tensors(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write numpy arrays as safetensors."""
    save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def load_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays of a safetensors file.

    Raises:
        IntegrityError: the file is missing, truncated, or no safetensors file.
    """
    return {name: tensor.numpy() for name, tensor in read_tensors(path).items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        IntegrityError: the file is missing, truncated, or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt"):
            pass
        return load_file(path)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing: run `dvc repro` (or `dvc pull`) first") from error
    except SafetensorError as error:
        raise IntegrityError(f"{path} is truncated or no safetensors file ({error}): get it again") from error


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], where: Path, assign: bool = False) -> None:
    """Load `tensors` into `model`, which must take exactly these.

    Args:
        model: what gets the tensors.
        tensors: by the model's names.
        where: the file that they come from.
        assign: whether the tensors themselves become the weights, instead of being copied into them; a model on the
            device `meta`, which has no memory of its own, needs that.

    Raises:
        IntegrityError: tensors are missing, unexpected, of another shape, or hold NaN or infinity; all are named.
    """
    problems = compare(model.state_dict(), tensors)
    if problems:
        shown = listed(problems, _SHOWN)
        raise IntegrityError(f"{where} does not fit its model:\n  " + "\n  ".join(shown))
    model.load_state_dict(dict(tensors), assign=assign)


def compare(expected: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> list[str]:
    """What keeps `observed` from being loaded as `expected`, one line a tensor; shapes come before values."""
    problems = [f"missing tensor {name} {list(expected[name].shape)}" for name in expected if name not in observed]
    problems += [f"unexpected tensor {name} {list(observed[name].shape)}" for name in observed if name not in expected]
    for name in expected.keys() & observed.keys():
        if expected[name].shape != observed[name].shape:
            problems.append(f"tensor {name} has shape {list(observed[name].shape)}, not {list(expected[name].shape)}")
        elif observed[name].is_floating_point() and not bool(torch.isfinite(observed[name]).all()):
            bad = int((~torch.isfinite(observed[name])).sum())
            problems.append(f"tensor {name} holds {bad} values that are NaN or infinite")
    return sorted(problems)
