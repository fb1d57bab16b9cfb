"""Describes what a model takes and returns, in words that every engine understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    `axes` holds an axis's size, or the name of an axis that varies: `("batch", "length")`, `("batch", 3, 224, 224)`.
    """

    name: str
    dtype: Literal["int32", "float32"]
    axes: tuple[str | int, ...]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape when the named axes have these `sizes`."""
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.axes)


@dataclass(frozen=True)
class ModelSpec:
    """A model's inputs in the order of its call, its one output, and the shapes that must be served.

    Engines with varying shapes leave the named axes open; an engine with fixed shapes gets a signature for
    each entry of `shapes`, which gives every named axis a size: `{"batch": 1, "length": 32}`.

    Attributes:
        state: what is carried from call to call, such as a cache. A module takes it behind its inputs and returns it
            behind its output, in this order; its axes have fixed sizes, but for `batch`, which comes first, and one
            that only the state has, such as `cache`: how many positions a buffer holds, with a size in each of
            `shapes`. It is addressed by position: a call never reads what lies behind its own. Each exporter realizes
            it in its engine's own way, and `Session.run(inputs, state)` hides which.
    """

    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    shapes: tuple[Mapping[str, int], ...]
    state: tuple[TensorSpec, ...] = ()

    def axis_names(self) -> tuple[str, ...]:
        """The axes that vary: the named axes of the inputs, each once, in the order in which they first appear.

        A named axis that the output alone has is a size which the model decides.
        """
        return tuple(dict.fromkeys(axis for tensor in self.inputs for axis in tensor.axes if isinstance(axis, str)))


@dataclass(frozen=True)
class Case:
    """A shape in which every variant is measured, with real inputs of that shape.

    Attributes:
        shape: the size of each axis that varies, `batch` first: an entry of `ModelSpec.shapes`.
        before: inputs of one call that fills the state before the clock starts, such as a prompt; only for models with
            a state. The state is rewound to it before each timed call.
    """

    name: str
    shape: Mapping[str, int]
    inputs: Arrays
    before: Arrays | None = None


def signature_name(shape: Mapping[str, int]) -> str:
    """Name of a fixed-shape entry point: `{"batch": 1, "length": 32}` is `b1_l32`."""
    return "_".join(f"{axis[0]}{size}" for axis, size in shape.items())
