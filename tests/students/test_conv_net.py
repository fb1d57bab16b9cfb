import torch

from pipeline import students
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.channels.prune import prune_channels
from pipeline.students.conv_net import ConvNet, ConvNetConfig
from pipeline.students.layers.images import ImageConfig

_IMAGES = ImageConfig(5, 1, 16, 16, (0.3,), (0.4,))


def test_each_convolution_is_twice_as_wide_on_half_the_image() -> None:
    model = ConvNet(ConvNetConfig.create(_IMAGES, width=8, layers=3)).eval()
    maps = model.maps(torch.zeros(2, 1, 16, 16))
    assert [tuple(one.shape[1:]) for one in maps] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 5)


def test_a_pruned_one_is_rebuilt_from_its_config() -> None:
    torch.manual_seed(0)
    model = ConvNet(ConvNetConfig.create(_IMAGES, width=32, layers=3)).eval()
    image = torch.rand(1, 1, 16, 16) * 255
    pruned, report = prune_channels(model, {"image": image}, Ceilings(9000, 600_000))
    assert report.before.params > 9000 >= report.after.params
    assert report.before.macs > 600_000 >= report.after.macs
    again = students.build(pruned.config.as_json())  # type: ignore[union-attr, operator]
    again.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(again.eval()(image), pruned(image))
