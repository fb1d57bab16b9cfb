"""A plain stack of 3 x 3 convolutions: dense, so that few operators do much; quick to train and to export.

Every convolution but the first halves the image, as in VGG (arXiv:1409.1556) with strides in the place of pooling.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Self

from torch import Tensor, nn

from pipeline.students import Student
from pipeline.students.layers.images import ImageConfig, Normalize, conv_norm


@dataclass(frozen=True)
class ConvNetConfig(ImageConfig):
    """Channels of each convolution; pruning makes them any numbers."""

    widths: tuple[int, ...]
    architecture: str = "conv_net"

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, read back; raises as the base class does."""
        return super().from_json({**config, "widths": tuple(config["widths"])})

    @classmethod
    def create(cls, images: ImageConfig, *, width: int = 32, layers: int = 4) -> Self:
        """`layers` convolutions: the first has `width` channels, each later one twice as many as the one before it."""
        return cls(**asdict(images.images()), widths=tuple(width * 2**layer for layer in range(layers)))


class ConvNet(nn.Module):
    """Images to logits."""

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize(config.mean, config.std)
        self.features = nn.ModuleList(
            nn.Sequential(*conv_norm(ins, outs, 3, 2 if index else 1, activation=nn.ReLU))
            for index, (ins, outs) in enumerate(pairwise((config.channels, *config.widths)))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(config.widths[-1], config.classes)

    def maps(self, image: Tensor) -> list[Tensor]:
        """The feature map of each size, for raw pixels float32 `[batch, channels, height, width]`."""
        found = [self.normalize(image)]
        for layer in self.features:
            found.append(layer(found[-1]))
        return found[1:]

    def head(self, last: Tensor) -> Tensor:
        """Logits of the last feature map, float32 `[batch, classes]`."""
        return self.fc(self.pool(last).flatten(1))  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Classify images: raw pixels 0 to 255, float32 NCHW, to logits float32 `[batch, classes]`."""
        return self.head(self.maps(image)[-1])

    def fixed_layers(self) -> list[nn.Module]:
        """Layers whose outputs pruning must leave: the one that gives the logits."""
        return [self.fc]

    def config_of_layers(self) -> ConvNetConfig:
        """The config with the widths that the layers have now."""
        convolutions = [layer for layer in self.features.modules() if isinstance(layer, nn.Conv2d)]
        return replace(self.config, widths=tuple(layer.out_channels for layer in convolutions))


STUDENT = Student(ConvNetConfig, ConvNet)
