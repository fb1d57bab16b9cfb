from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.images.augment import Augmentation, augment

_NOTHING = Augmentation(shift=0, rotation_degrees=0, zoom=0, flip=False)


def _images(count: int = 8, height: int = 12, width: int = 12) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=random, dtype=torch.uint8)


def _augment(images: Tensor, how: Augmentation, seed: int = 1) -> Tensor:
    return augment(images, how, torch.Generator().manual_seed(seed))


def test_nothing_to_vary_leaves_the_images() -> None:
    images = _images()
    assert torch.equal(_augment(images, _NOTHING), images.float())


def test_the_seed_decides_and_every_image_varies_by_itself() -> None:
    how = Augmentation(shift=0.1, rotation_degrees=10, zoom=0.1, flip=True)
    same = _images(1).repeat(6, 1, 1, 1)
    first, again, other = _augment(same, how), _augment(same, how), _augment(same, how, seed=2)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) == 6
    assert 0 <= first.min() <= first.max() <= 255


def test_a_flip_mirrors_left_and_right_of_about_half() -> None:
    images = _images(200)
    flipped = _augment(images, replace(_NOTHING, flip=True))
    mirrored = images.float().flip(-1)
    is_flipped = [torch.allclose(a, b, atol=0.01) for a, b in zip(flipped, mirrored, strict=True)]
    is_same = [torch.allclose(a, b, atol=0.01) for a, b in zip(flipped, images.float(), strict=True)]
    assert all(one != other for one, other in zip(is_flipped, is_same, strict=True))
    assert 70 < sum(is_flipped) < 130


def test_a_shift_moves_by_at_most_its_fraction() -> None:
    dot = torch.zeros(64, 1, 21, 21)
    dot[:, :, 10, 10] = 255
    moved = _augment(dot, replace(_NOTHING, shift=0.2))
    rows, columns = moved.sum(dim=(1, 3)), moved.sum(dim=(1, 2))
    places = torch.arange(21.0)
    for sums in (rows, columns):
        away = (sums * places).sum(dim=1) / sums.sum(dim=1) - 10
        assert away.abs().max() <= 0.2 * 21 + 1e-3
        assert away.min() < -2 < 2 < away.max()


@pytest.mark.parametrize(("height", "width"), [(21, 21), (21, 41)])
def test_a_rotation_keeps_distances_whatever_the_proportions(height: int, width: int) -> None:
    dot = torch.zeros(64, 1, height, width)
    dot[:, :, height // 2, width // 2 + 6] = 255
    turned = _augment(dot, replace(_NOTHING, rotation_degrees=90))
    total = turned.sum(dim=(1, 2, 3))
    x = (turned.sum(dim=(1, 2)) * torch.arange(float(width))).sum(dim=1) / total - width // 2
    y = (turned.sum(dim=(1, 3)) * torch.arange(float(height))).sum(dim=1) / total - height // 2
    assert torch.allclose((x**2 + y**2).sqrt(), torch.tensor(6.0), atol=0.2)
    assert y.abs().max() > 5


def test_a_zoom_keeps_the_center_and_an_even_image() -> None:
    even = torch.full((4, 1, 9, 9), 77, dtype=torch.uint8)
    assert torch.allclose(_augment(even, replace(_NOTHING, zoom=0.5)), torch.tensor(77.0), atol=1e-3)
    dot = torch.zeros(16, 1, 9, 9)
    dot[:, :, 4, 4] = 255
    assert (_augment(dot, replace(_NOTHING, zoom=0.3))[:, 0, 4, 4] > 254.9).all()
