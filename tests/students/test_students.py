from pathlib import Path

import pytest
import torch

from pipeline.errors import InputError, IntegrityError
from pipeline.students import architectures, build, find
from pipeline.students.layers.images import ImageConfig, Normalize, multiple_of_8
from pipeline.weights import load_strictly

_DIGITS = ImageConfig(10, 1, 32, 32, (0.3,), (0.4,))


def test_every_student_is_found_by_its_module() -> None:
    assert set(architectures()) >= {"mobilenet_v3", "shufflenet_v2", "text_encoder"}
    for name in ("mobilenet_v3", "shufflenet_v2"):
        config = find(name).config.create(_DIGITS, width_mult=0.5)
        assert config.architecture == name
        assert isinstance(build(config.as_json()), find(name).model)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["no_such_net", "base", "image_layers", "../artifacts", ""])
def test_what_is_no_student_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(InputError, match=r"known are .*mobilenet_v3, .*shufflenet_v2, .*text_encoder"):
        find(name)


@pytest.mark.parametrize("name", ["mobilenet_v3", "shufflenet_v2"])
def test_a_checkpoint_with_another_number_of_classes_is_refused_by_name(name: str) -> None:
    student = find(name)
    mine = student.model(student.config.create(_DIGITS, width_mult=0.5))
    other = student.model(student.config.create(ImageConfig(7, 1, 32, 32, (0.3,), (0.4,)), width_mult=0.5))
    with pytest.raises(IntegrityError, match=r"(?s)tensor (classifier\.3|fc)\.bias has shape \[7\], not \[10\]"):
        load_strictly(mine, other.state_dict(), Path("other.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.3, 0.3]}, "2 means and 1 deviations for 1 channels"),
        ({"std": [0.0]}, "must be above 0"),
        ({"classes": 0}, "must be at least 1"),
    ],
)
def test_images_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    config = find("shufflenet_v2").config.create(_DIGITS, width_mult=0.5).as_json()
    with pytest.raises(ValueError, match=message):
        build({**config, **change})


def test_normalization_gives_zero_mean_and_unit_variance_of_each_channel() -> None:
    mean, std = (0.2, 0.5, 0.8), (0.1, 0.2, 0.4)
    image = torch.tensor(mean).view(1, 3, 1, 1).expand(1, 3, 2, 2) * 255
    normalize = Normalize(mean, std)
    torch.testing.assert_close(normalize(image), torch.zeros(1, 3, 2, 2), atol=1e-6, rtol=0)
    above = normalize(image + 255 * torch.tensor(std).view(1, 3, 1, 1))
    torch.testing.assert_close(above, torch.ones(1, 3, 2, 2), atol=1e-6, rtol=0)
    assert not normalize.state_dict()


@pytest.mark.parametrize(("channels", "rounded"), [(1, 8), (8, 8), (11.9, 16), (12, 16), (18, 24), (20, 24), (35, 32)])
def test_channels_are_rounded_to_eight_and_never_ten_percent_down(channels: float, rounded: int) -> None:
    assert multiple_of_8(channels) == rounded
