"""What a task must bring: data, teacher, training steps, the shapes it is served with, and its metrics.

What gate, report and `bardlet validate` must know, without torch, is declared in the task's `ModelParams`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.spec import Arrays, Case, ModelSpec
from pipeline.layout import ModelLayout

if TYPE_CHECKING:
    from torch import nn

    from pipeline.params.blocks import ModelParams

P = TypeVar("P", bound="ModelParams", contravariant=True)


class Task(Protocol[P]):
    """A kind of product; every stage that is not the same for all asks it.

    A stage gives a folder `out` that is moved to its final name when the method returns. Methods that return a mapping
    return the content of `report.json` (with `params`, `macs`, `size_bytes` and `quality`, see
    `pipeline.cost.describe_size`), and those that train also `losses`, one a step. `P` is the task's own
    `ModelParams`.
    """

    def make_data(self, params: P, seed: int, root: Path, out: Path) -> None:
        """Write the texts (or images) to train and to judge on."""

    def run_teacher(self, params: P, seed: int, root: Path, where: str, data: Path, out: Path) -> Mapping[str, Any]:
        """Check and copy the teacher, or train it; run it over the data, and write what it said."""

    def distill(self, params: P, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Train the student."""

    def prune(self, params: P, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Make the student physically smaller and let it recover."""

    def quantize(self, params: P, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Make the weights survive int8 and leave the calibration set."""

    def load_teacher_module(self, folder: Path) -> "nn.Module | None":
        """The teacher as a module that can be exported; None for a black box."""

    def model_spec(self, params: P) -> ModelSpec:
        """Inputs, output and served shapes of the student."""

    def teacher_spec(self, params: P) -> ModelSpec:
        """The same of the teacher: only the shape that latency is judged at."""

    def comparison_inputs(self, params: P, paths: ModelLayout, count: int) -> Sequence[Arrays]:
        """Held-out inputs to compare an export on, one example each."""

    def cases(self, params: P, paths: ModelLayout) -> Sequence[Case]:
        """The shapes to measure, with real inputs."""

    def evaluate(self, encode: "Encode", params: P, paths: ModelLayout) -> Mapping[str, float]:
        """Task quality of a model or an export on held-out data, by the keys of `ModelParams.measures`."""

    def score(self, encode: "Encode", params: P, paths: ModelLayout) -> float:
        """One figure of quality on validation data, more is better: what int8 may lose is stated in it."""

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """The measures of `evaluate` of the teacher itself."""


class Encode(Protocol):
    """Runs a model over a list of examples, whatever their shapes."""

    def __call__(self, examples: Sequence[Arrays]) -> NDArray[np.float32]:
        """One row an example, float32 `[n, d]`."""
