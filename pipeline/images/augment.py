"""Random variations of training images, one for each image of a batch."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How far images are varied; all zeros and False leave them as they are.

    `shift` is a fraction of height and width, `zoom` a fraction of the size (0.1: between 0.9 and 1.1 times). Each is
    drawn evenly between minus and plus that. `flip` mirrors half of the images left to right, which harms digits and
    text.
    """

    shift: float
    rotation_degrees: float
    zoom: float
    flip: bool


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Shift, turn, zoom and mirror each image by its own random amount, in one bilinear resampling.

    What comes into view from outside repeats the image's edge.

    Args:
        images: `[n, c, h, w]`, uint8 or float32, values 0..255.
        how: the largest variation of each kind.
        generator: on the CPU; the same state gives the same images.

    Returns:
        float32 `[n, c, h, w]`, values 0..255.
    """
    return vary(images, how, draw(len(images), generator))


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Random amounts for `count` images, float32 `[count, 5]`, evenly from -1 to 1.

    Amounts are drawn even for a variation that is off, so that switching it on does not change the others.
    """
    return torch.rand(count, 5, generator=generator) * 2 - 1


def vary(images: Tensor, how: Augmentation, amounts: Tensor) -> Tensor:
    """The images moved by given shares of the largest variation. With the same shares, two stages see the same images.

    Args:
        images: `[n, c, h, w]`, uint8 or float32, values 0..255.
        how: the largest variation of each kind.
        amounts: float32 `[n, 5]` as `draw` gives them; a row of zeros leaves an image as it is.

    Returns:
        float32 `[n, c, h, w]`, values 0..255.
    """
    given = images.to(torch.float32)
    if not (how.shift or how.rotation_degrees or how.zoom or how.flip):
        return given
    height, width = images.shape[2:]
    maps = _maps(amounts, how, height / width).to(images.device)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(given, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _maps(amounts: Tensor, how: Augmentation, aspect: float) -> Tensor:
    """`[n, 2, 3]`: where each target position lies in the source, both from -1 to 1; `aspect` is height by width."""
    angle = amounts[:, 0] * how.rotation_degrees * pi / 180
    scale = 1 / (1 + amounts[:, 1] * how.zoom)
    mirror = torch.where((amounts[:, 2] < 0) & how.flip, -1.0, 1.0)
    shift = amounts[:, 3:5] * how.shift * 2
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    across = torch.stack([mirror * cosine, -mirror * sine * aspect, shift[:, 0]], dim=1)
    down = torch.stack([sine / aspect, cosine, shift[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)
