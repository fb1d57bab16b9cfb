"""Where a teacher's weights may lie, one block a kind of source. A task takes some of the kinds:

Source = Annotated[FromPackage | FromPath, BY_SOURCE]
"""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.params import choices
from pipeline.params.choices import BY_SOURCE
from pipeline.params.values import Block, Sha256


class PackageSource(Block):
    """A checkpoint inside an installed Python package."""

    package: str


class PathSource(Block):
    """A local folder with a checkpoint: `config.json` and `model.safetensors`, and what the task needs besides."""

    path: str


class HubSource(Block):
    """A repository of the Hugging Face Hub at a pinned revision."""

    hf: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class GgufSource(Block):
    """A language model in one GGUF file, with its tokenizer and its chat template."""

    gguf: str


class SavedModelSource(Block):
    """A black-box TensorFlow SavedModel in a folder; needs the extra `tensorflow`."""

    saved_model: str


class OnnxSource(Block):
    """A black-box ONNX model: one file."""

    onnx: str


# Each kind with the key that tells it from the others.
FromPackage = Annotated[PackageSource, choices.tag("package")]
FromPath = Annotated[PathSource, choices.tag("path")]
FromHub = Annotated[HubSource, choices.tag("hf")]
FromGguf = Annotated[GgufSource, choices.tag("gguf")]
FromSavedModel = Annotated[SavedModelSource, choices.tag("saved_model")]
FromOnnx = Annotated[OnnxSource, choices.tag("onnx")]
Source = Annotated[FromPackage | FromPath | FromHub | FromGguf | FromSavedModel | FromOnnx, BY_SOURCE]


class Weights(Block):
    """Where weights come from, and the checksum that they must have.

    Attributes:
        package_may_hold_gguf: whether a package may hold one GGUF file instead of a folder with safetensors.
    """

    package_may_hold_gguf: ClassVar[bool] = False

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    sha256: Sha256
