"""ShuffleNetV2 (arXiv:1807.11164), x0.5 to x2.0, with torchvision's names of tensors.

An ImageNet checkpoint of torchvision loads strictly into `ShuffleNetV2(ShuffleNetV2Config.create(...))` with 1,000
classes and 3 channels. The widths inside the branches stand in the config, because pruning makes them differ.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.students import Student
from pipeline.students.layers.images import ImageConfig, Normalize, conv_norm, keep_last_of_each_size
from pipeline.students.layers.shuffle_free import replace_stages

# Table 5 of the paper: channels of stages 2 to 4 and of the last convolution; x2.0 as in the reference code.
_WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
_UNITS = (4, 8, 4)
_STEM = 24


@dataclass(frozen=True)
class Stage:
    """Units at one resolution.

    Attributes:
        out: channels that each of its units gives, even; half of them come from each branch.
        inner: for each unit, the channels of the depthwise convolution in its right branch; `out // 2` as published.
    """

    out: int
    inner: tuple[int, ...]


@dataclass(frozen=True)
class ShuffleNetV2Config(ImageConfig):
    """Every width of a ShuffleNetV2; see `create` for the published ones.

    Attributes:
        stem: channels of the first convolution.
        stem_stride: 2 as published; 1 for images of few pixels.
        stem_pool: whether a max pooling of stride 2 follows it, as published.
        stages: stages 2, 3 and 4.
        last: channels of the last convolution.
    """

    stem: int
    stem_stride: int
    stem_pool: bool
    stages: tuple[Stage, ...]
    last: int
    architecture: str = "shufflenet_v2"

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Self:
        """What `as_json` wrote, read back; raises as the base class does."""
        stages = tuple(Stage(stage["out"], tuple(stage["inner"])) for stage in config["stages"])
        return super().from_json({**config, "stages": stages})

    @classmethod
    def create(
        cls, images: ImageConfig, *, width_mult: float = 1.0, stem_stride: int = 2, stem_pool: bool = True
    ) -> Self:
        """The published network at one of the widths 0.5, 1.0, 1.5 and 2.0.

        Raises:
            ValueError: another width.
        """
        if width_mult not in _WIDTHS:
            raise ValueError(f"width_mult {width_mult} of shufflenet_v2 is none of {', '.join(map(str, _WIDTHS))}")
        *outs, last = _WIDTHS[width_mult]
        stages = tuple(Stage(out, (out // 2,) * units) for out, units in zip(outs, _UNITS, strict=True))
        return cls(
            **asdict(images.images()),
            stem=_STEM,
            stem_stride=stem_stride,
            stem_pool=stem_pool,
            stages=stages,
            last=last,
        )


class ChannelShuffle(nn.Module):
    """Interleaves the two halves of the channels, so that the branches' features mix (the paper's figure 3)."""

    order: Tensor
    reorders_channels = True  # and nothing else: see pipeline.compress.channels.groups

    def __init__(self, channels: int) -> None:
        super().__init__()
        order = torch.arange(channels).view(2, channels // 2).T.flatten()
        self.register_buffer("order", order, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Float32 `[batch, channels, height, width]` to the same shape."""
        # A gather of whole planes in three dimensions: OpenVINO 2026.4.1 picks wrong channels where there are four
        # (docs/decisions/0006-image-students.md).
        planes = features.flatten(2).index_select(1, self.order)
        return planes.unflatten(2, features.shape[2:])  # type: ignore[no-any-return, no-untyped-call]


class Unit(nn.Module):
    """A basic unit (stride 1: the left half passes unchanged), or one that halves the image and has two branches."""

    def __init__(self, inputs: int, out: int, inner: int, stride: int) -> None:
        super().__init__()
        half = out // 2
        self.splits = stride == 1
        left: list[nn.Module] = []
        if not self.splits:
            left = conv_norm(inputs, inputs, 3, stride, groups=inputs) + conv_norm(inputs, half, 1, activation=nn.ReLU)
        self.branch1 = nn.Sequential(*left)
        self.branch2 = nn.Sequential(
            *conv_norm(half if self.splits else inputs, inner, 1, activation=nn.ReLU),
            *conv_norm(inner, inner, 3, stride, groups=inner),
            *conv_norm(inner, half, 1, activation=nn.ReLU),
        )
        self.shuffle = ChannelShuffle(out)

    def forward(self, features: Tensor) -> Tensor:
        """Float32 `[batch, inputs, height, width]` to `[batch, out, ...]`, smaller by the stride."""
        left, right = features.chunk(2, dim=1) if self.splits else (features, features)
        return self.shuffle(torch.cat((self.branch1(left), self.branch2(right)), dim=1))  # type: ignore[no-any-return]


class ShuffleNetV2(nn.Module):
    """Images to logits; see the module's docstring."""

    def __init__(self, config: ShuffleNetV2Config) -> None:
        super().__init__()
        self.config = config
        self.normalize = Normalize(config.mean, config.std)
        self.conv1 = nn.Sequential(*conv_norm(config.channels, config.stem, 3, config.stem_stride, activation=nn.ReLU))
        self.maxpool = nn.MaxPool2d(3, 2, 1) if config.stem_pool else nn.Identity()
        self.stage2, self.stage3, self.stage4 = _stages(config)
        self.conv5 = nn.Sequential(*conv_norm(config.stages[-1].out, config.last, 1, activation=nn.ReLU))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(config.last, config.classes)

    def maps(self, image: Tensor) -> list[Tensor]:
        """The last feature map of each size, largest first: float32 `[batch, channels, height, width]` each."""
        maps: list[Tensor] = []
        features = self.normalize(image)
        for layer in (self.conv1, self.maxpool, self.stage2, self.stage3, self.stage4, self.conv5):
            features = layer(features)
            keep_last_of_each_size(maps, features)
        return maps

    def head(self, last: Tensor) -> Tensor:
        """Logits of the last feature map, float32 `[batch, classes]`."""
        return self.fc(self.avgpool(last).flatten(1))  # type: ignore[no-any-return]

    def for_export(self) -> nn.Module:
        """The same function for inference, without shuffles; called by the exporters."""
        return replace_stages(self, ("stage2", "stage3", "stage4"), "conv5")

    def forward(self, image: Tensor) -> Tensor:
        """Classify images.

        Args:
            image: raw pixels 0 to 255, float32 `[batch, channels, height, width]`.

        Returns:
            Logits, float32 `[batch, classes]`.
        """
        return self.head(self.maps(image)[-1])

    def fixed_layers(self) -> list[nn.Module]:
        """Layers whose outputs pruning must leave: the logits, and what ends a branch.

        A shuffle couples the channels of every unit of its stage: of two channels that one unit removes, the next would
        have to lose one in each branch, and so on, until whole residue classes of a stage are gone. The convolutions
        inside the branches are free, and hold most of the multiply-accumulates.
        """
        ends = [branch[-3] for unit in self._units() for branch in (unit.branch1, unit.branch2) if len(branch)]
        return [self.fc, *ends]

    def config_of_layers(self) -> ShuffleNetV2Config:
        """The config with the widths that the layers have now, after pruning has cut them."""
        inner = iter([_outputs(unit.branch2[0]) for unit in self._units()])
        stages = tuple(Stage(stage.out, tuple(next(inner) for _ in stage.inner)) for stage in self.config.stages)
        stem, last = _outputs(self.conv1[0]), _outputs(self.conv5[0])
        return replace(self.config, stem=stem, stages=stages, last=last)

    def _units(self) -> list[Unit]:
        return [module for module in self.modules() if isinstance(module, Unit)]


def _outputs(convolution: nn.Module) -> int:
    assert isinstance(convolution, nn.Conv2d)
    return convolution.out_channels


def _stages(config: ShuffleNetV2Config) -> list[nn.Sequential]:
    """The units of each stage; the first unit of a stage halves the image."""
    made: list[nn.Sequential] = []
    inputs = config.stem
    for stage in config.stages:
        units: list[nn.Module] = []
        for index, inner in enumerate(stage.inner):
            units.append(Unit(inputs, stage.out, inner, stride=1 if index else 2))
            inputs = stage.out
        made.append(nn.Sequential(*units))
    return made


STUDENT = Student(ShuffleNetV2Config, ShuffleNetV2)
