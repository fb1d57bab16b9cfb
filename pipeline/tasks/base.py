"""What a task must bring: data, teacher, training steps, the shapes it is served with, and its metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline.engines.base import ModelSpec
from pipeline.layout import ModelLayout
from pipeline.params import ModelParams

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """A shape in which every variant is measured, with real inputs of that shape."""

    name: str
    batch: int
    length: int
    inputs: Arrays


class Task(Protocol):
    """A kind of product; every stage that is not the same for all asks it.

    A stage gives a folder `out` that is moved to its final name when the method returns. Methods that return a mapping
    return the content of `report.json`, and those that train also `losses`, one a step.
    """

    def make_data(self, params: ModelParams, seed: int, root: Path, out: Path) -> None:
        """Write the texts (or images) to train and to judge on."""

    def run_teacher(self, params: ModelParams, root: Path, where: str, data: Path, out: Path) -> Mapping[str, Any]:
        """Check and copy the teacher, run it over the data, and write what it said."""

    def distill(self, params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Train the student."""

    def prune(self, params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Make the student physically smaller and let it recover."""

    def quantize(self, params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
        """Make the weights survive int8 and leave the calibration set."""

    def load_teacher_module(self, folder: Path) -> nn.Module | None:
        """The teacher as a module that can be exported; None for a black box."""

    def model_spec(self, params: ModelParams) -> ModelSpec:
        """Inputs, output and served shapes of the student."""

    def teacher_spec(self, params: ModelParams) -> ModelSpec:
        """The same of the teacher: only the shape that latency is judged at."""

    def comparison_inputs(self, params: ModelParams, paths: ModelLayout, count: int) -> Sequence[Arrays]:
        """Held-out inputs to compare an export on, one example each."""

    def cases(self, params: ModelParams, paths: ModelLayout) -> Sequence[Case]:
        """The shapes to measure, with real inputs."""

    def evaluate(self, encode: "Encode", params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
        """Task quality of a model or an export on held-out data, by the names of the budgets."""

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """The same measures of the teacher."""


class Encode(Protocol):
    """Runs a model over a list of examples, whatever their shapes."""

    def __call__(self, examples: Sequence[Arrays]) -> NDArray[np.float32]:
        """One row an example, float32 `[n, d]`."""
