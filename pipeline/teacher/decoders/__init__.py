"""Reading a language model of others as a `pipeline.students.decoder.Decoder`; no code of a checkpoint runs."""

import torch

from pipeline.errors import InputError
from pipeline.students.decoder import Decoder
from pipeline.teacher.decoders import from_gguf, from_safetensors
from pipeline.teacher.decoders.tensors import Plan, gather
from pipeline.teacher.sources import Checkpoint
from pipeline.weights import load_strictly


def load(checkpoint: Checkpoint) -> Decoder:
    """The decoder of a checkpoint in float32 and evaluation mode.

    Raises:
        InputError: it is no decoder of a family that is read, or its tensors are quantized in a way that is not.
        IntegrityError: the file is damaged, or its tensors are not those that its configuration asks for.
    """
    if checkpoint.is_black_box:
        raise InputError(f"{checkpoint.weights} is a black box: a language model's weights must be readable")
    plan: Plan = (from_gguf if checkpoint.gguf else from_safetensors).plan(checkpoint.weights)
    tensors = gather(plan)
    # Without memory, and so without random weights, until the tensors are known to fit: sizes are what a file says.
    with torch.device("meta"):
        model = Decoder(plan.config)
    load_strictly(model, tensors, plan.path, assign=True)
    return model.eval()
