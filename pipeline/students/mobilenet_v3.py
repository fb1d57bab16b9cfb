"""MobileNetV3 (arXiv:1905.02244), small and large, with torchvision's names of tensors.

An ImageNet checkpoint of torchvision loads strictly into `MobileNetV3(MobileNetV3Config.create(...))` with 1,000
classes, 3 channels and a width of 1. Every width stands in the config, because pruning makes them differ.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor, nn

from pipeline.students import Student
from pipeline.students.layers.images import ImageConfig, Normalize, conv_norm, keep_last_of_each_size, multiple_of_8

Activation = Literal["relu", "hardswish"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "hardswish": nn.Hardswish}
_EPS = 1e-3  # of batch norm, as in the reference implementation


class _Row(NamedTuple):
    """A row of the paper's tables 1 and 2."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: Activation
    stride: int


_LARGE = (
    _Row(3, 16, 16, False, "relu", 1),
    _Row(3, 64, 24, False, "relu", 2),
    _Row(3, 72, 24, False, "relu", 1),
    _Row(5, 72, 40, True, "relu", 2),
    _Row(5, 120, 40, True, "relu", 1),
    _Row(5, 120, 40, True, "relu", 1),
    _Row(3, 240, 80, False, "hardswish", 2),
    _Row(3, 200, 80, False, "hardswish", 1),
    _Row(3, 184, 80, False, "hardswish", 1),
    _Row(3, 184, 80, False, "hardswish", 1),
    _Row(3, 480, 112, True, "hardswish", 1),
    _Row(3, 672, 112, True, "hardswish", 1),
    _Row(5, 672, 160, True, "hardswish", 2),
    _Row(5, 960, 160, True, "hardswish", 1),
    _Row(5, 960, 160, True, "hardswish", 1),
)
_SMALL = (
    _Row(3, 16, 16, True, "relu", 2),
    _Row(3, 72, 24, False, "relu", 2),
    _Row(3, 88, 24, False, "relu", 1),
    _Row(5, 96, 40, True, "hardswish", 2),
    _Row(5, 240, 40, True, "hardswish", 1),
    _Row(5, 240, 40, True, "hardswish", 1),
    _Row(5, 120, 48, True, "hardswish", 1),
    _Row(5, 144, 48, True, "hardswish", 1),
    _Row(5, 288, 96, True, "hardswish", 2),
    _Row(5, 576, 96, True, "hardswish", 1),
    _Row(5, 576, 96, True, "hardswish", 1),
)
_STEM = 16
_TABLES = {"small": (_SMALL, 1024), "large": (_LARGE, 1280)}  # and the width of the classifier's hidden layer


@dataclass(frozen=True)
class Block:
    """An inverted residual with its own widths.

    Attributes:
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        expanded: channels of the depthwise convolution.
        out: channels that the block gives.
        squeeze: channels inside squeeze-and-excitation; 0 where there is none.
        activation: of the convolutions.
        expand: whether a pointwise convolution stands before the depthwise one.
        residual: whether the input is added.
    """

    kernel: int
    stride: int
    expanded: int
    out: int
    squeeze: int
    activation: Activation
    expand: bool
    residual: bool


@dataclass(frozen=True)
class MobileNetV3Config(ImageConfig):
    """Every width of a MobileNetV3; see `create` for the published ones.

    Attributes:
        stem: channels of the first convolution.
        stem_stride: 2 as published; 1 for images of few pixels.
        blocks: the inverted residuals.
        last: channels of the last convolution.
        hidden: width between the two linear layers.
        dropout: before the last layer, while training.
    """

    stem: int
    stem_stride: int
    blocks: tuple[Block, ...]
    last: int
    hidden: int
    dropout: float = 0.2
    architecture: str = "mobilenet_v3"

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, read back; raises as the base class does."""
        return super().from_json({**config, "blocks": tuple(Block(**block) for block in config["blocks"])})

    @classmethod
    def create(
        cls,
        images: ImageConfig,
        *,
        size: Literal["small", "large"] = "small",
        width_mult: float = 1.0,
        stem_stride: int = 2,
        dropout: float = 0.2,
    ) -> Self:
        """The published network at a width, every layer's channels a multiple of 8."""
        rows, hidden = _TABLES[size]
        stem = multiple_of_8(_STEM * width_mult)
        blocks: list[Block] = []
        inputs = stem
        for row in rows:
            expanded, out = multiple_of_8(row.expanded * width_mult), multiple_of_8(row.out * width_mult)
            squeeze = multiple_of_8(expanded // 4) if row.squeeze else 0
            expand, residual = expanded != inputs, row.stride == 1 and inputs == out
            blocks.append(Block(row.kernel, row.stride, expanded, out, squeeze, row.activation, expand, residual))
            inputs = out
        return cls(
            **asdict(images.images()),
            stem=stem,
            stem_stride=stem_stride,
            blocks=tuple(blocks),
            last=6 * inputs,
            hidden=multiple_of_8(hidden * width_mult),
            dropout=dropout,
        )


class SqueezeExcite(nn.Module):
    """Scales each channel by a hard sigmoid of a function of all channels' means (arXiv:1709.01507)."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(squeeze, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, features: Tensor) -> Tensor:
        """The scaled map, float32 `[batch, channels, height, width]`."""
        scale = self.fc2(self.activation(self.fc1(self.avgpool(features))))
        return features * self.scale_activation(scale)  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, squeeze and excite, project (the paper's figure 4)."""

    def __init__(self, inputs: int, block: Block) -> None:
        super().__init__()
        activation, width = _ACTIVATIONS[block.activation], block.expanded
        layers: list[nn.Module] = []
        if block.expand:
            layers.append(_triple(inputs, width, 1, activation=activation))
        elif width != inputs:
            raise ValueError(f"a block without expansion has {width} channels, its input {inputs}")
        if block.residual and (block.stride != 1 or block.out != inputs):
            raise ValueError(f"a residual block of stride {block.stride} gives {block.out} channels for {inputs}")
        layers.append(_triple(width, width, block.kernel, block.stride, groups=width, activation=activation))
        if block.squeeze:
            layers.append(SqueezeExcite(width, block.squeeze))
        layers.append(_triple(width, block.out, 1))
        self.block = nn.Sequential(*layers)
        self.residual = block.residual
        self.described = block

    def forward(self, features: Tensor) -> Tensor:
        """Float32 `[batch, inputs, height, width]` to `[batch, out, ...]`, smaller by the stride."""
        given: Tensor = self.block(features)
        return features + given if self.residual else given

    def block_of_layers(self) -> Block:
        """The description with the widths that the layers have now."""
        *_, filtering = (m for m in self.block.modules() if isinstance(m, nn.Conv2d) and m.groups > 1)
        squeeze = [module.fc1.out_channels for module in self.block if isinstance(module, SqueezeExcite)]
        project = _convolution(self.block[-1])
        return replace(
            self.described,
            expanded=filtering.out_channels,
            out=project.out_channels,
            squeeze=squeeze[0] if squeeze else 0,
        )


class MobileNetV3(nn.Module):
    """Images to logits; see the module's docstring."""

    def __init__(self, config: MobileNetV3Config) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize(config.mean, config.std)
        stem = _triple(config.channels, config.stem, 3, config.stem_stride, activation=nn.Hardswish)
        widths = (config.stem, *(block.out for block in config.blocks))
        blocks = [InvertedResidual(inputs, block) for inputs, block in zip(widths[:-1], config.blocks, strict=True)]
        last = _triple(widths[-1], config.last, 1, activation=nn.Hardswish)
        self.features = nn.Sequential(stem, *blocks, last)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(config.last, config.hidden),
            nn.Hardswish(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.classes),
        )
        _initialize(self)

    def maps(self, image: Tensor) -> list[Tensor]:
        """The last feature map of each size, largest first: float32 `[batch, channels, height, width]` each."""
        maps: list[Tensor] = []
        features = self.normalize(image)
        for layer in self.features:
            features = layer(features)
            keep_last_of_each_size(maps, features)
        return maps

    def head(self, last: Tensor) -> Tensor:
        """Logits of the last feature map, float32 `[batch, classes]`."""
        return self.classifier(self.avgpool(last).flatten(1))  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Classify images.

        Args:
            image: raw pixels 0 to 255, float32 `[batch, channels, height, width]`.

        Returns:
            Logits, float32 `[batch, classes]`.
        """
        return self.head(self.maps(image)[-1])

    def fixed_layers(self) -> list[nn.Module]:
        """Layers whose outputs pruning must leave: the one that gives the logits."""
        return [self.classifier[-1]]

    def config_of_layers(self) -> MobileNetV3Config:
        """The config with the widths that the layers have now, after pruning has cut them."""
        stem, *blocks, last = self.features
        hidden = self.classifier[0]
        assert isinstance(hidden, nn.Linear)
        return replace(
            self.config,
            stem=_convolution(stem).out_channels,
            blocks=tuple(block.block_of_layers() for block in blocks if isinstance(block, InvertedResidual)),
            last=_convolution(last).out_channels,
            hidden=hidden.out_features,
        )


def _convolution(triple: nn.Module) -> nn.Conv2d:
    """The convolution of what `_triple` made."""
    return next(module for module in triple.modules() if isinstance(module, nn.Conv2d))


def _triple(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activation: type[nn.Module] | None = None
) -> nn.Sequential:
    return nn.Sequential(*conv_norm(inputs, outputs, kernel, stride, groups, activation, _EPS))


def _initialize(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)


STUDENT = Student(MobileNetV3Config, MobileNetV3)
