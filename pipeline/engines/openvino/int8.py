"""int8 for OpenVINO, with NNCF's post-training quantization: weights and activations with fixed scales."""

from collections.abc import Sequence

import openvino

from pipeline.engines.exporter import Calibration
from pipeline.engines.layer_errors import examples
from pipeline.engines.spec import ModelSpec

_ATTENTION = {"Softmax", "ScaledDotProductAttention"}


def quantize(
    model: openvino.Model, spec: ModelSpec, calibration: Calibration, float_nodes: Sequence[str]
) -> openvino.Model:
    """The int8 model: weights with a scale a channel, activations with scales from the calibration set.

    Args:
        model: the fp32 model.
        spec: its inputs.
        calibration: examples by input name.
        float_nodes: friendly names of nodes to leave in fp32.
    """
    import nncf  # 4 s
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # NNCF itself computes in f32 while it calibrates, whatever the CPU has.
    attention = any(op.get_type_name() in _ATTENTION for op in model.get_ops())
    return nncf.quantize(
        model,
        nncf.Dataset(examples(spec, calibration)),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        model_type=nncf.ModelType.TRANSFORMER if attention else None,
        subset_size=len(calibration[spec.inputs[0].name]),
        ignored_scope=nncf.IgnoredScope(names=list(float_nodes)) if float_nodes else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # The default averages the examples' ranges and clips what only short texts reach: cosine
            # 0.994 instead of 0.999 at 5 tokens. Bias correction then gained nothing, for 5 s.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
            # Smoothing moved error into the weights: cosine 0.96 with it, 0.9999 without.
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1),
        ),
    )
