"""A model of an architecture of `pipeline.students` for the images of a data set."""

from torch import nn

from pipeline import students
from pipeline.errors import InputError
from pipeline.images.storage import ImageInfo
from pipeline.students.layers.images import ImageConfig
from pipeline.tasks.image_classification.params import DesignParams


def create(design: DesignParams, info: ImageInfo) -> nn.Module:
    """A model with random weights.

    Raises:
        InputError: the architecture is not for images, or does not have such an option or value.
    """
    student = students.find(design.architecture)
    if not hasattr(student.config, "create"):
        raise InputError(f"{design.architecture} is no student of images: choose another architecture")
    side = info.input_size
    images = ImageConfig(len(info.names), info.channels, side, side, info.mean, info.std)
    try:
        model: nn.Module = student.model(student.config.create(images, **design.options))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"{design.architecture} cannot be made with options {dict(design.options)}: {error}; "
            f"pipeline/students/{design.architecture}.py says what its `create` takes"
        ) from error
    return model
