"""The engines that models are exported to and run on: the one list of them.

To add one takes two lines here, a folder in `pipeline/engines/` and a module beside this one: docs/add-an-engine.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Engine(StrEnum):
    """An inference engine; its value is the name of its folder and of its module."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TFLITE = "tflite"

    @property
    def full_name(self) -> str:
        """What people call it."""
        return FACTS[self].full_name


@dataclass(frozen=True)
class EngineFacts:
    """What the rest of the code must know of an engine.

    Attributes:
        full_name: what people call it.
        suffix: of the file that it opens.
        package: what a device installs for it, as `pip` calls it.
        inference: the types that it computes in where nothing is quantized; see `session.Precision`.
        caches: the types of a state that it carries; `none` is for models without one.
    """

    full_name: str
    suffix: str
    package: str
    inference: tuple[str, ...] = ("f32",)
    caches: tuple[str, ...] = ("none", "f32")


FACTS: Mapping[Engine, EngineFacts] = {
    Engine.ONNXRUNTIME: EngineFacts("ONNX Runtime", ".onnx", "onnxruntime"),
    Engine.OPENVINO: EngineFacts("OpenVINO", ".xml", "openvino", ("f32", "bf16"), ("none", "f32", "u8")),
    Engine.TFLITE: EngineFacts("TensorFlow Lite", ".tflite", "ai-edge-litert"),
}
