"""The expected names and shapes are spelled from the paper's tables and torchvision's naming, not from the module."""

import pytest
import torch

from pipeline.cost import count_params
from pipeline.students import build
from pipeline.students.layers.images import ImageConfig
from pipeline.students.mobilenet_v3 import MobileNetV3, MobileNetV3Config

_IMAGENET = ImageConfig(1000, 3, 224, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_DIGITS = ImageConfig(10, 1, 32, 32, (0.3,), (0.4,))
# kernel, input, expanded, output, squeeze (0: none); a block without expansion has expanded == input.
_SMALL = [
    (3, 16, 16, 16, 8),
    (3, 16, 72, 24, 0),
    (3, 24, 88, 24, 0),
    (5, 24, 96, 40, 24),
    (5, 40, 240, 40, 64),
    (5, 40, 240, 40, 64),
    (5, 40, 120, 48, 32),
    (5, 48, 144, 48, 40),
    (5, 48, 288, 96, 72),
    (5, 96, 576, 96, 144),
    (5, 96, 576, 96, 144),
]
_LARGE = [
    (3, 16, 16, 16, 0),
    (3, 16, 64, 24, 0),
    (3, 24, 72, 24, 0),
    (5, 24, 72, 40, 24),
    (5, 40, 120, 40, 32),
    (5, 40, 120, 40, 32),
    (3, 40, 240, 80, 0),
    (3, 80, 200, 80, 0),
    (3, 80, 184, 80, 0),
    (3, 80, 184, 80, 0),
    (3, 80, 480, 112, 120),
    (3, 112, 672, 112, 168),
    (5, 112, 672, 160, 168),
    (5, 160, 960, 160, 240),
    (5, 160, 960, 160, 240),
]
_Shapes = dict[str, tuple[int, ...]]


def _triple(prefix: str, out: int, inputs: int, kernel: int) -> _Shapes:
    norm = {f"{prefix}.1.{name}": (out,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {f"{prefix}.0.weight": (out, inputs, kernel, kernel), **norm, f"{prefix}.1.num_batches_tracked": ()}


def _published(rows: list[tuple[int, int, int, int, int]], hidden: int) -> _Shapes:
    shapes = _triple("features.0", 16, 3, 3)
    for index, (kernel, inputs, expanded, out, squeeze) in enumerate(rows, start=1):
        parts = [f"features.{index}.block.{part}" for part in range(4)]
        if expanded != inputs:
            shapes |= _triple(parts.pop(0), expanded, inputs, 1)
        shapes |= _triple(parts.pop(0), expanded, 1, kernel)
        if squeeze:
            part = parts.pop(0)
            shapes |= {f"{part}.fc1.weight": (squeeze, expanded, 1, 1), f"{part}.fc1.bias": (squeeze,)}
            shapes |= {f"{part}.fc2.weight": (expanded, squeeze, 1, 1), f"{part}.fc2.bias": (expanded,)}
        shapes |= _triple(parts.pop(0), out, expanded, 1)
    last = rows[-1][3] * 6
    shapes |= _triple(f"features.{len(rows) + 1}", last, rows[-1][3], 1)
    shapes |= {"classifier.0.weight": (hidden, last), "classifier.0.bias": (hidden,)}
    return {**shapes, "classifier.3.weight": (1000, hidden), "classifier.3.bias": (1000,)}


@pytest.mark.parametrize(
    ("size", "params", "tensors", "rows", "hidden"),
    [("small", 2_542_856, 244, _SMALL, 1024), ("large", 5_483_032, 312, _LARGE, 1280)],
)
def test_names_and_shapes_are_those_of_torchvision(
    size: str, params: int, tensors: int, rows: list[tuple[int, int, int, int, int]], hidden: int
) -> None:
    model = MobileNetV3(MobileNetV3Config.create(_IMAGENET, size=size))  # type: ignore[arg-type]
    assert count_params(model) == params
    assert len(model.state_dict()) == tensors
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == _published(rows, hidden)


@torch.inference_mode()
def test_normalization_is_inside() -> None:
    torch.manual_seed(0)
    model = MobileNetV3(MobileNetV3Config.create(_DIGITS, width_mult=0.25)).eval()
    image = torch.randint(0, 256, (2, 1, 32, 32)).float()
    plain = model.features((image / 255 - 0.3) / 0.4)
    torch.testing.assert_close(model(image), model.head(plain), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("width_mult", [0.25, 0.35, 0.5, 0.75, 1.25])
@pytest.mark.parametrize("size", ["small", "large"])
def test_every_width_is_a_multiple_of_eight(size: str, width_mult: float) -> None:
    config = MobileNetV3Config.create(_DIGITS, size=size, width_mult=width_mult)  # type: ignore[arg-type]
    widths = [config.stem, config.last, config.hidden]
    for block in config.blocks:
        widths += [block.expanded, block.out, block.squeeze]
    assert all(width % 8 == 0 for width in widths)
    MobileNetV3(config)


@torch.inference_mode()
def test_a_stem_of_stride_one_keeps_small_images_large() -> None:
    image = torch.zeros(1, 1, 32, 32)
    sizes = {}
    for stride in (1, 2):
        model = MobileNetV3(MobileNetV3Config.create(_DIGITS, width_mult=0.25, stem_stride=stride)).eval()
        sizes[stride] = [features.shape[2] for features in model.maps(image)]
        assert model(image).shape == (1, 10)
    assert sizes == {1: [32, 16, 8, 4, 2], 2: [16, 8, 4, 2, 1]}


def test_a_config_comes_back_from_json() -> None:
    config = MobileNetV3Config.create(_DIGITS, size="large", width_mult=0.5, stem_stride=1)
    assert MobileNetV3Config.from_json(config.as_json()) == config
    assert build(config.as_json()).config == config


def test_the_layers_say_the_config_they_were_built_from() -> None:
    for size in ("small", "large"):
        config = MobileNetV3Config.create(_DIGITS, size=size, width_mult=0.5)  # type: ignore[arg-type]
        assert MobileNetV3(config).config_of_layers() == config


def test_a_block_that_cannot_be_is_refused() -> None:
    config = MobileNetV3Config.create(_DIGITS, width_mult=0.5).as_json()
    blocks = [dict(block) for block in config["blocks"]]  # type: ignore[attr-defined, call-overload]
    blocks[2]["out"] = 24
    with pytest.raises(ValueError, match="a residual block of stride 1 gives 24 channels for 16"):
        build({**config, "blocks": blocks})
    blocks[1]["expand"] = False
    with pytest.raises(ValueError, match="a block without expansion has 40 channels, its input 8"):
        build({**config, "blocks": blocks})
