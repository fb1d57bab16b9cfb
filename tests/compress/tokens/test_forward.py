from dataclasses import replace

import pytest
import torch

from pipeline.compress.tokens.forward import training_features
from pipeline.students.decoder import Decoder, DecoderConfig

_PLAIN = DecoderConfig(40, 16, 2, 4, 2, 8, 32, 10000.0, 1e-5, 64)


@pytest.mark.parametrize("config", [_PLAIN, replace(_PLAIN, qkv_bias=True), replace(_PLAIN, qk_norm=True)])
def test_features_and_gradients_are_those_of_the_decoder(config: DecoderConfig) -> None:
    torch.manual_seed(0)
    model = Decoder(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    tokens, direction = torch.randint(40, (3, 20)), torch.randn(3, 20, 16)
    found, expected = training_features(model, tokens, torch.float32), model.features(tokens)
    assert torch.allclose(found, expected, atol=1e-4)
    gradients = [torch.autograd.grad((one * direction).sum(), list(model.parameters())) for one in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-2, rtol=1e-3)


def test_bf16_is_close_to_float32() -> None:
    torch.manual_seed(0)
    model = Decoder(_PLAIN)
    tokens = torch.randint(40, (3, 20))
    exact, reduced = (training_features(model, tokens, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert reduced.dtype is torch.float32
    assert torch.allclose(exact, reduced, atol=0.1)
