"""A teacher that can only be called: a TensorFlow or Keras SavedModel over token ids.

Its serving signature takes `input_ids` and `attention_mask` (int32 or int64 `[batch, length]`) and gives one float
tensor: embeddings `[batch, d]`, or token outputs `[batch, length, d]`, which are mean-pooled.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.students.text_encoder import mean

_INPUTS = {"input_ids", "attention_mask"}


class SavedModelTeacher:
    """A SavedModel behind the interface of `TeacherEncoder`; it has no weights that PyTorch could see."""

    def __init__(self, folder: Path) -> None:
        """Open the SavedModel in `folder`.

        Raises:
            InputError: TensorFlow is not installed, or the signature is another one.
        """
        try:
            import tensorflow as tf
        except ImportError as error:
            raise InputError(f"{folder} needs TensorFlow: pip install 'bardlet[tensorflow]'") from error
        self._tf = tf
        self._model = tf.saved_model.load(str(folder))
        signature = self._model.signatures.get("serving_default")
        if signature is None:
            raise InputError(
                f"{folder} has no signature serving_default: save it with signatures={{'serving_default': …}}"
            )
        self._inputs: dict[str, Any] = signature.structured_input_signature[1]
        if set(self._inputs) != _INPUTS or len(signature.structured_outputs) != 1:
            raise InputError(
                f"{folder}: serving_default takes {sorted(self._inputs)} "
                f"and gives {len(signature.structured_outputs)} outputs; "
                f"{sorted(_INPUTS)} and one output are needed"
            )
        self._signature = signature

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts: ids and mask int `[batch, length]` to unit-length float32 `[batch, d]`."""
        arrays = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        feed = {name: self._tf.constant(array, self._inputs[name].dtype) for name, array in arrays.items()}
        (output,) = self._signature(**feed).values()
        tensor = torch.from_numpy(np.array(output, np.float32))
        return functional.normalize(mean(tensor, attention_mask) if tensor.ndim == 3 else tensor, dim=-1)
