"""What every engine's exporter is given and what it does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.spec import ModelSpec
from pipeline.errors import StageError
from pipeline.layout import Engine, Variant
from pipeline.runtime.session import Precision

if TYPE_CHECKING:
    import torch

Calibration = Mapping[str, NDArray[np.generic]]
Inference = Literal["f32", "bf16"]


class NotAvailableError(StageError):
    """An engine has no such precision, or not for this model; the message says why."""


@dataclass(frozen=True)
class LayerError:
    """What a reduced precision does to one layer.

    Attributes:
        name: the layer's place in the model, as far as the engine's file still tells it: `features.4.block.1.0`.
        error: noise that the layer adds to its output, relative to the output: the root of the growth of the
            squared error, from the layer's input to its output. 0 is exact, 1 is as much noise as signal.
    """

    name: str
    error: float


class Exporter(Protocol):
    """Turns a PyTorch model into an engine's files. Writing the same model twice writes the same bytes.

    Attributes:
        name: the engine.
        precisions: the reduced variants that the engine's tools can make. Whether they can make one of a given model is
            known only when `quantize` has looked at it.
    """

    name: Engine
    precisions: frozenset[Variant]

    def export(self, model: torch.nn.Module, spec: ModelSpec, out: Path, *, toolchain: Mapping[str, str | int]) -> None:
        """Write `model` in fp32.

        Args:
            model: called with the inputs of `spec`, in their order; returns one float32 tensor.
            spec: names, types and shapes.
            out: the file that the engine opens; OpenVINO writes its weights beside it.
            toolchain: the versions and settings of params.yaml (`opset`).

        Raises:
            StageError: the converter refused the model, or fixed an axis that must stay open.
        """
        ...

    def quantize(
        self,
        fp32: Path,
        spec: ModelSpec,
        calibration: Calibration,
        out: Path,
        *,
        precision: Variant,
        keep_float: Collection[str] = (),
    ) -> None:
        """Write a reduced variant of an exported model with the engine's own tool.

        Args:
            fp32: what `export` wrote.
            spec: the spec of that export.
            calibration: by input name, arrays [n, ...] of n examples; used where activations get fixed scales.
            out: the file that the engine opens.
            precision: one of `precisions`.
            keep_float: layers to leave in fp32, by the names that `layer_errors` gives.

        Raises:
            NotAvailableError: the engine has no such precision for a model of this kind; `out` is not written.
            StageError: the quantizer refused the model, or it has no layer of such a name.
        """
        ...

    def precision_of(self, file: Path, variant: Variant, spec: ModelSpec, inference: Inference) -> Precision:
        """The precision that a session opens a variant with, so that no default of the engine decides it.

        export.json records it, and `open_session` takes it.

        Args:
            file: the file of this variant, as `export` or `quantize` wrote it.
            variant: which variant it is.
            spec: the spec of the export.
            inference: the type that params.yaml asks for. An engine that has no other than f32 computes in f32.
        """
        ...

    def layer_errors(self, fp32: Path, reduced: Path, spec: ModelSpec, calibration: Calibration) -> list[LayerError]:
        """Every layer with weights or products that `quantize` reduced, the one that loses most first.

        Args:
            fp32: what `export` wrote.
            reduced: what `quantize` wrote of it.
            spec: the spec of that export.
            calibration: examples to run both models on; the first 16 are used.
        """
        ...


def exporter(engine: Engine) -> Exporter:
    """The exporter of `engine`; its packages are imported here and not before."""
    module = import_module(f"pipeline.engines.{engine.value}.export")
    made: Exporter = module.exporter
    return made


def precision_of_variant(
    variant: Variant, spec: ModelSpec, *, activations: str, inference: Inference = "f32"
) -> Precision:
    """The precision of a variant; `activations` applies to reduced variants alone, and a state is carried in f32."""
    return Precision(
        weights=variant.value if variant.is_reduced else "fp32",
        activations=activations if variant.is_reduced else "fp32",
        inference=inference,
        cache="f32" if spec.state else "none",
    )


def require_products(engine: Engine, fp32: Path, convolutions: bool) -> None:
    """Refuse int4 for a network with convolutions.

    The engines have kernels for products with weights of 4 bits, and none for convolutions. What is left, a classifier
    behind the convolutions, holds too few of the weights to pay.

    Raises:
        NotAvailableError: the file has convolutions.
    """
    if convolutions:
        reason = "it has convolutions, and int4 is for products with weights"
        raise NotAvailableError(f"{engine} has no int4 for {fp32.name}: {reason}")


def missing_layers(engine: Engine, fp32: Path, keep_float: Collection[str], layers: Collection[str]) -> StageError:
    """The error for names in `keep_float` that are no layers of the file."""
    unknown = ", ".join(sorted(set(keep_float) - set(layers)))
    return StageError(f"{engine} quantize {fp32.name}: no layer {unknown}; it has {', '.join(sorted(layers))}")


def refusal(engine: Engine, action: str, target: Path, error: Exception) -> StageError:
    """The error for a converter's exception: the first cause, its first lines, and what to try."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()][:3] or ["no message"]
    return StageError(
        f"{engine} cannot {action} {target.name}: {type(cause).__name__}: {' | '.join(lines)}; "
        "run the stage with --debug for the whole traceback"
    )
