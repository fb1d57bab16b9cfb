import pytest
import torch
from torch import nn

from pipeline.students.layers.images import ImageConfig
from pipeline.students.shufflenet_v2 import ChannelShuffle, ShuffleNetV2, ShuffleNetV2Config, Stage

_IMAGES = ImageConfig(10, 1, 32, 32, (0.3,), (0.4,))


def _settled(config: ShuffleNetV2Config) -> ShuffleNetV2:
    """Seeded weights, and norms whose channels all differ."""
    torch.manual_seed(0)
    model = ShuffleNetV2(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model.eval()


# As published; and pruned: uneven inner widths, and stages whose halves are no powers of two.
_PUBLISHED = ShuffleNetV2Config.create(_IMAGES, width_mult=0.5, stem_pool=False)
_STAGES = (Stage(20, (7, 9, 10, 3)), Stage(36, (18,) * 7 + (5,)), Stage(44, (1, 22)))
_PRUNED = ShuffleNetV2Config(
    10, 1, 32, 32, (0.3,), (0.4,), stem=6, stem_stride=1, stem_pool=True, stages=_STAGES, last=16
)


@pytest.mark.parametrize("config", [_PUBLISHED, _PRUNED], ids=["published", "pruned"])
def test_without_shuffles_the_logits_are_the_same(config: ShuffleNetV2Config) -> None:
    model = _settled(config)
    free = model.for_export()
    images = torch.rand(3, 1, 32, 32) * 255
    with torch.no_grad():
        torch.testing.assert_close(free(images), model(images), rtol=1e-4, atol=1e-4)


def test_model_keeps_its_weights_and_the_copy_never_calls_a_shuffle() -> None:
    model = _settled(_PRUNED)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    free = model.for_export()
    calls: list[str] = []
    for module in free.modules():
        if isinstance(module, ChannelShuffle):
            module.register_forward_hook(lambda *_: calls.append("shuffle"))
    free(torch.rand(1, 1, 32, 32))
    assert calls == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
