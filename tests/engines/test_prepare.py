import pytest
import torch
from torch import Tensor, nn

from pipeline.engines.prepare import Center, prepared
from pipeline.students.layers.images import Normalize


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.conv(self.normalize(image))).mean((2, 3))


class UsesTheScaleTwice(Classifier):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + self.normalize(image).mean()


class ScalesItsOutput(nn.Module):
    """Has the names of a normalization, and is none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner = nn.Conv2d(3, 4, 3), nn.Identity()
        self.inner.scale, self.inner.shift = 2.0, 1.0

    def forward(self, image: Tensor) -> Tensor:
        return self.inner(self.conv(image))


@pytest.fixture
def image() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(2, 3, 8, 8)


def test_scale_moves_into_the_first_convolution_and_one_addition_stays(image: Tensor) -> None:
    torch.manual_seed(0)
    model = Classifier()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = prepared(model, (image,))
    assert isinstance(folded.normalize, Center)
    assert folded.normalize.offset.flatten().tolist() == pytest.approx([-127.5, -102.0, -76.5])
    with torch.no_grad():
        assert torch.allclose(folded(image * 255), model(image * 255), atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not folded.training


def test_model_whose_output_would_change_is_left_as_it_is(image: Tensor) -> None:
    torch.manual_seed(0)
    model = UsesTheScaleTwice()
    assert prepared(model, (image,)) is model


def test_model_without_normalization_is_returned_in_evaluation_mode(image: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).train()
    assert prepared(model, (image,)) is model
    assert not model.training


def test_a_module_with_the_names_of_a_normalization_is_left_as_it_is(image: Tensor) -> None:
    model = ScalesItsOutput()
    assert prepared(model, (image,)) is model
