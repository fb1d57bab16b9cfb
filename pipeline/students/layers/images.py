"""What convolutional students share: a description of their images, normalization, and the usual three layers."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ImageConfig:
    """The images of a model and how many classes it tells apart; every convolutional student's config extends it.

    Attributes:
        classes: number of logits.
        channels: 3 for RGB, 1 for grayscale.
        height: of the images, in pixels.
        width: of the images, in pixels.
        mean: of each channel over the training images, where white is 1.
        std: standard deviation of each channel, where white is 1.
    """

    classes: int
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if min(self.classes, self.channels, self.height, self.width) < 1:
            raise ValueError("classes, channels, height and width must be at least 1")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} deviations for {self.channels} channels")
        if min(self.std) <= 0:
            raise ValueError(f"std {list(self.std)} must be above 0")

    def as_json(self) -> dict[str, object]:
        """The content of `config.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, read back.

        Raises:
            TypeError, KeyError, ValueError: keys are missing or unknown, or a value cannot be.
        """
        return cls(**{**config, "mean": tuple(config["mean"]), "std": tuple(config["std"])})

    def images(self) -> "ImageConfig":
        """The part that describes the images, without the architecture."""
        return ImageConfig(**{field.name: getattr(self, field.name) for field in fields(ImageConfig)})


class Normalize(nn.Module):
    """Raw pixels to zero mean and unit variance, inside the model so that no device can get it wrong."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        deviations = torch.tensor(std).view(1, -1, 1, 1)
        # Not persistent: a checkpoint from elsewhere has no such tensors, and the config holds their values.
        self.register_buffer("scale", 1.0 / (255.0 * deviations), persistent=False)
        self.register_buffer("shift", -torch.tensor(mean).view(1, -1, 1, 1) / deviations, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels 0 to 255, float32 `[batch, channels, height, width]`, to the same shape."""
        return image * self.scale + self.shift


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = None,
    eps: float = 1e-5,
) -> list[nn.Module]:
    """Convolution that keeps the size (divided by `stride`), batch norm, and an activation where there is one."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=eps),
    ]
    return layers if activation is None else [*layers, activation()]


def keep_last_of_each_size(maps: list[Tensor], new: Tensor) -> None:
    """Append a feature map, or put it in the place of the last one if that has the same height and width."""
    if maps and maps[-1].shape[2:] == new.shape[2:]:
        maps[-1] = new
    else:
        maps.append(new)


def multiple_of_8(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, but never more than 10 % below it (arXiv:1801.04381, reference code)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
