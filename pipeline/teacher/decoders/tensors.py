"""Which tensor of a file becomes which tensor of our decoder, and what is missing or too much, by the file's names."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from pipeline.errors import IntegrityError, listed
from pipeline.students.decoder import DecoderConfig

_SHOWN = 8


def as_it_is(tensor: Tensor) -> Tensor:
    """The tensor itself."""
    return tensor


@dataclass(frozen=True)
class Taken:
    """One tensor of ours: the name of that in the file, and what is done to it."""

    name: str
    change: Callable[[Tensor], Tensor] = as_it_is


@dataclass(frozen=True)
class Plan:
    """How a file becomes a decoder.

    Attributes:
        path: the file.
        config: of the decoder.
        taken: by the names of our tensors.
        names: all that the file holds.
        read: gives a tensor of the file in float32, by its name.
        ignored: what the file may hold besides, because it is no weight.
    """

    path: Path
    config: DecoderConfig
    taken: Mapping[str, Taken]
    names: Collection[str]
    read: Callable[[str], Tensor]
    ignored: Collection[str] = field(default=())


def require_layers(layers: int, names: Collection[str], path: Path) -> None:
    """Refuse more layers than there are tensors, before each of them is looked for.

    Raises:
        IntegrityError: there are.
    """
    if layers > len(names):
        raise IntegrityError(f"{path} should hold {layers} layers, and has {len(names)} tensors in all: get it again")


def gather(plan: Plan) -> dict[str, Tensor]:
    """The tensors of our decoder, float32, by our names.

    Raises:
        IntegrityError: the file lacks a tensor, or holds one that no decoder of its family has.
    """
    wanted = {taken.name for taken in plan.taken.values()}
    problems = [f"missing tensor {name}" for name in sorted(wanted.difference(plan.names))]
    unknown = set(plan.names).difference(wanted, plan.ignored)
    problems += [f"unexpected tensor {name}" for name in sorted(unknown)]
    if problems:
        raise IntegrityError(
            f"{plan.path} does not hold the tensors that its configuration asks for:\n  "
            + "\n  ".join(listed(problems, _SHOWN))
        )
    return {name: _taken(plan, taken) for name, taken in plan.taken.items()}


def _taken(plan: Plan, taken: Taken) -> Tensor:
    tensor = plan.read(taken.name)
    try:
        return taken.change(tensor).contiguous()
    except (RuntimeError, IndexError) as error:
        shape = list(tensor.shape)
        raise IntegrityError(f"{plan.path}: tensor {taken.name} {shape} does not fit its configuration") from error
