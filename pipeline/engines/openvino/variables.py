"""A state that stays inside the model: OpenVINO's variables, which an infer request owns."""

import numpy as np
import openvino
from openvino import opset13 as operators
from openvino._offline_transformations import apply_make_stateful_transformation

from pipeline.engines.spec import ModelSpec
from pipeline.runtime.session import PAST, PRESENT


def keep_state_inside(model: openvino.Model, spec: ModelSpec) -> None:
    """Turn the inputs `past.<name>` and outputs `present.<name>` into variables that are zero before the first call.

    Nothing happens where `spec` has no state.

    Args:
        model: with the tensors' names; changed in place.
        spec: the first axis of each tensor of its state is the batch, the others have fixed sizes.
    """
    if not spec.state:
        return
    apply_make_stateful_transformation(model, {PAST + one.name: PRESENT + one.name for one in spec.state})
    shapes = {PAST + one.name: one.axes[1:] for one in spec.state}
    batch = operators.gather(
        operators.shape_of(model.inputs[0], "i64"), operators.constant(np.array([0])), operators.constant(np.int64(0))
    )
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            # Without an initial value an open batch would be an empty one.
            [name] = node.output(0).get_names()
            rest = operators.constant(np.array(shapes[name], np.int64))
            shape = operators.concat([batch, rest], 0)
            node.set_arguments([operators.broadcast(operators.constant(np.float32(0)), shape).output(0)])
    model.validate_nodes_and_infer_types()
