"""int4 for OpenVINO, with NNCF's weight compression: weights alone, in groups with a scale each."""

from collections.abc import Sequence

import openvino

_GROUP = 32


def quantize(model: openvino.Model, float_nodes: Sequence[str]) -> openvino.Model:
    """The int4 model: products with weights of 4 bits and a zero point a group.

    NNCF keeps embeddings and the last product in int8, with a scale a channel. So it does with a weight whose inner
    size is no multiple of the group.

    Args:
        model: the fp32 model, without convolutions.
        float_nodes: friendly names of nodes to leave in fp32.
    """
    import nncf  # 4 s
    from nncf.quantization.advanced_parameters import AdvancedCompressionParameters, GroupSizeFallbackMode

    return nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_ASYM,
        group_size=_GROUP,
        ignored_scope=nncf.IgnoredScope(names=list(float_nodes)) if float_nodes else None,
        advanced_parameters=AdvancedCompressionParameters(group_size_fallback_mode=GroupSizeFallbackMode.ADJUST),
    )
