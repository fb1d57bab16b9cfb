"""A model's state as exporters see it: tensors that a call takes behind its inputs and gives behind its output.

Their names in a file are those that `pipeline.runtime.session` looks for.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from pipeline.engines.samples import sample_inputs
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.runtime.session import PAST, PRESENT


def call_inputs(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """What the module is called with: the inputs, and `past.<name>` for each tensor of the state."""
    return (*spec.inputs, *(replace(tensor, name=PAST + tensor.name) for tensor in spec.state))


def call_outputs(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """What the module returns: the output, and `present.<name>` for each tensor of the state."""
    return (spec.output, *(replace(tensor, name=PRESENT + tensor.name) for tensor in spec.state))


def sample_call(spec: ModelSpec, sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """Example tensors for `call_inputs`; see `sample_inputs`. The state is empty."""
    return (*sample_inputs(spec, sizes), *(torch.zeros(tensor.shape(sizes)) for tensor in spec.state))
