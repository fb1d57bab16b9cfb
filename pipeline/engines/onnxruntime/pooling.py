"""The mean over an image as one pooling.

The numbers are the same, but ONNX Runtime keeps its blocked layout through a pooling, and has it in int8.
"""

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

_IMAGE_RANK = 4


class PoolMeans(ir.passes.InPlacePass):
    """Turns every mean over height and width that keeps its axes into GlobalAveragePool."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class; `modified` says whether there was such a mean."""
        means = [node for node in model.graph if _is_mean_of_an_image(node)]
        for node in means:
            node.op_type = "GlobalAveragePool"
            node.resize_inputs(1)
            node.attributes.clear()
        if means:
            RemoveUnusedNodesPass()(model)  # the constants that held the axes
        return ir.passes.PassResult(model, bool(means))


def _is_mean_of_an_image(node: ir.Node) -> bool:
    if node.op_type != "ReduceMean" or len(node.inputs) < 2 or node.attributes.get_int("keepdims", 1) != 1:
        return False
    image, axes = node.inputs[:2]
    if image is None or axes is None or image.shape is None or len(image.shape) != _IMAGE_RANK:
        return False
    reduced = axes.const_value
    return reduced is not None and sorted(int(axis) % _IMAGE_RANK for axis in reduced.numpy()) == [2, 3]
