"""Teachers of images that can only be called: an ONNX file, or a TensorFlow or Keras SavedModel.

Both take raw pixels, float32 `[batch, channels, height, width]` of 0..255, in an input called `image` (a SavedModel may
want the channels last), and give one float tensor of logits `[batch, classes]`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.runtime.session import open_session
from pipeline.teacher.sources import Checkpoint

Caller = Callable[[Tensor], Tensor]


def open_black_box(checkpoint: Checkpoint) -> Caller:
    """What gives logits for images.

    Raises:
        InputError: TensorFlow is not installed, or the SavedModel's signature is another one.
    """
    if checkpoint.onnx is not None:
        return _onnx(checkpoint.onnx)
    return _saved_model(checkpoint.folder)


def _onnx(path: Path) -> Caller:
    session = open_session("onnxruntime", path)
    return lambda images: torch.from_numpy(np.array(session.run({"image": images.numpy()}), np.float32))


def _saved_model(folder: Path) -> Caller:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError(f"{folder} needs TensorFlow: pip install 'bardlet[tensorflow]'") from error
    model = tf.saved_model.load(str(folder))
    signature = model.signatures.get("serving_default")
    inputs: dict[str, Any] = {} if signature is None else signature.structured_input_signature[1]
    if signature is None or list(inputs) != ["image"] or len(signature.structured_outputs) != 1:
        raise InputError(
            f"{folder}: serving_default takes {sorted(inputs) or 'nothing'}; "
            "one input `image` and one output are needed"
        )
    channels_last = inputs["image"].shape[-1] in (1, 3)

    def call(images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1) if channels_last else images
        # `model` owns the variables that the signature reads.
        assert model is not None
        (output,) = signature(image=tf.constant(pixels.numpy(), tf.float32)).values()
        return torch.from_numpy(np.array(output, np.float32))

    return call
