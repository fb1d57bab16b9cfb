"""Teachers that can only be called: a TensorFlow or Keras SavedModel, or an ONNX file."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.runtime.session import open_session
from pipeline.teacher.sources import Checkpoint

Arrays = Mapping[str, NDArray[Any]]


class BlackBox(Protocol):
    """A model without weights that PyTorch could see."""

    def __call__(self, inputs: Arrays) -> NDArray[np.float32]:
        """Its one output for arrays by input name, float32."""


class SavedModel:
    """A SavedModel's `serving_default`; arrays are cast to the types that it declares.

    Attributes:
        shapes: of its inputs, by name; `None` for an axis that is open.
    """

    def __init__(self, folder: Path, inputs: Collection[str]) -> None:
        """Open the SavedModel in `folder`, whose signature must take these `inputs` and give one output.

        Raises:
            InputError: TensorFlow is not installed, or the signature is another one.
        """
        try:
            import tensorflow as tf
        except ImportError as error:
            raise InputError(f"{folder} needs TensorFlow: pip install 'bardlet[tensorflow]'") from error
        self._tf = tf
        # It owns the variables that the signature reads: keep it alive.
        self._model = tf.saved_model.load(str(folder))
        signature = self._model.signatures.get("serving_default")
        if signature is None:
            raise InputError(
                f"{folder} has no signature serving_default: save it with signatures={{'serving_default': …}}"
            )
        self._inputs: dict[str, Any] = signature.structured_input_signature[1]
        if set(self._inputs) != set(inputs) or len(signature.structured_outputs) != 1:
            raise InputError(
                f"{folder}: serving_default takes {sorted(self._inputs) or 'nothing'} "
                f"and gives {len(signature.structured_outputs)} outputs; {sorted(inputs)} and one output are needed"
            )
        self._signature = signature
        self.shapes = {name: tuple(spec.shape) for name, spec in self._inputs.items()}

    def __call__(self, inputs: Arrays) -> NDArray[np.float32]:
        """See `BlackBox`."""
        feed = {name: self._tf.constant(array, self._inputs[name].dtype) for name, array in inputs.items()}
        (output,) = self._signature(**feed).values()
        return np.array(output, np.float32)


def open_black_box(checkpoint: Checkpoint, inputs: Collection[str]) -> BlackBox:
    """Open a checkpoint that is a black box.

    Raises:
        InputError: TensorFlow is not installed, or the SavedModel's signature is another one.
    """
    if checkpoint.onnx is None:
        return SavedModel(checkpoint.folder, inputs)
    session = open_session("onnxruntime", checkpoint.onnx)
    return lambda arrays: np.array(session.run(arrays), np.float32)
