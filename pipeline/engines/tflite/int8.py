"""int8 for TensorFlow Lite, with ai-edge-quantizer. Inputs and outputs stay float32.

Networks without convolutions are quantized dynamically: their weights are int8, and their kernels quantize activations
as they come. Networks with convolutions are quantized statically: the calibration set fixes the scales of activations.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.exporter import Calibration
from pipeline.engines.spec import ModelSpec, signature_name
from pipeline.engines.tflite import flatbuffer
from pipeline.engines.tflite.layers import has_convolutions, operator_name, scope

# Callers see float32. XNNPACK has hard-swish in float only: an int8 one runs in a reference kernel, which takes three
# times as long as the whole network, while two conversions within XNNPACK cost little.
_FLOAT = ("INPUT", "OUTPUT", "HARD_SWISH")

SILENT = {"enable_progress_bar": False, "enable_progress_report": False}

Ranges = dict[str, Any]


def quantize(fp32: Path, spec: ModelSpec, calibration: Calibration, float_scopes: Collection[str]) -> bytes:
    """The int8 model: weights with a scale a channel and a table row.

    Args:
        fp32: the file to quantize.
        spec: its signatures.
        calibration: examples by input name; a network without convolutions does not use them.
        float_scopes: operators to leave in fp32, by their `scope`.
    """
    if has_convolutions(flatbuffer.read(fp32.read_bytes())):
        return _quantize_static(fp32, spec, calibration, float_scopes)
    return _quantize_dynamic(fp32, float_scopes)


def _quantize_static(fp32: Path, spec: ModelSpec, calibration: Calibration, float_scopes: Collection[str]) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    manager, names = recipe_manager.RecipeManager(), qtyping.TFLOperationName
    manager.add_static_config(regex=".*", operation_name=names.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for name in _FLOAT:
        _leave(manager, ".*", names[name])
    leave_scopes(manager, float_scopes)
    made = quantizer.Quantizer(str(fp32), manager.get_quantization_recipe())
    ranges = _ranges(fp32, spec, calibration, manager)
    return bytes(made.quantize(ranges, **SILENT).quantized_model)


def _quantize_dynamic(fp32: Path, float_scopes: Collection[str]) -> bytes:
    from ai_edge_quantizer import quantizer, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    leave_scopes(manager, float_scopes)
    result = quantizer.Quantizer(str(fp32), manager.get_quantization_recipe()).quantize(**SILENT)
    return bytes(result.quantized_model)


def leave_scopes(manager: Any, scopes: Collection[str]) -> None:
    """Tell a recipe that operators of these scopes stay in fp32."""
    from ai_edge_quantizer import qtyping

    for found in sorted(scopes):
        _leave(manager, scope_regex(found), qtyping.TFLOperationName.ALL_SUPPORTED)


def scope_regex(found: str) -> str:
    """The regular expression by which a recipe matches exactly this scope."""
    return f"^{re.escape(found)}$"


def _leave(manager: Any, regex: str, operation: Any) -> None:
    """Tell a recipe that operators of a scope or kind stay in fp32."""
    from ai_edge_quantizer import recipe

    manager.add_quantization_config(
        regex=regex, operation_name=operation, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE
    )


def _ranges(fp32: Path, spec: ModelSpec, calibration: Calibration, manager: Any) -> Ranges:
    """Smallest and largest value of each tensor over all examples, the same for every signature.

    The largest batch is calibrated, for speed; its ranges hold for the same tensors of the other signatures.
    """
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils import qsv_utils

    largest = max(spec.shapes, key=lambda shape: int(np.prod(spec.inputs[0].shape(shape))))
    calibrate = calibrator.Calibrator(str(fp32), qsv_update_func=qsv_utils.min_max_update)
    calibrate.calibrate({signature_name(largest): list(_batches(spec, calibration, largest))}, manager)
    return _for_every_signature(fp32, signature_name(largest), calibrate.get_model_qsvs())


def _batches(spec: ModelSpec, calibration: Calibration, shape: Any) -> Iterator[dict[str, NDArray[np.generic]]]:
    """All examples in batches of a signature's size; the last one is filled up with the first examples."""
    count = len(calibration[spec.inputs[0].name])
    size = spec.inputs[0].shape(shape)[0]
    for start in range(0, count, size):
        rows = np.arange(start, start + size) % count
        yield {tensor.name: calibration[tensor.name][rows] for tensor in spec.inputs}


def _for_every_signature(fp32: Path, calibrated: str, ranges: Ranges) -> Ranges:
    """Signatures of one network have the same operators in the same order: their tensors correspond."""
    model = flatbuffer.read(fp32.read_bytes())
    subgraphs = {
        signature.signatureKey.decode(): model.subgraphs[signature.subgraphIndex] for signature in model.signatureDefs
    }
    source = subgraphs[calibrated]
    for key, subgraph in subgraphs.items():
        if key == calibrated:
            continue
        for ours, theirs in zip(subgraph.operators, source.operators, strict=True):
            if operator_name(model, ours) != operator_name(model, theirs):
                raise ValueError(f"signatures {key} and {calibrated} differ: {scope(subgraph, ours)}")
            pairs = zip((*ours.inputs, *ours.outputs), (*theirs.inputs, *theirs.outputs), strict=True)
            for own, other in pairs:
                name = source.tensors[other].name.decode() if other >= 0 else ""
                if name in ranges:
                    ranges[subgraph.tensors[own].name.decode()] = ranges[name]
    return ranges
