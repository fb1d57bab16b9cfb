import pytest
import torch

from pipeline.compress.tokens.losses import Targets, sparse_cross_entropy


def _example(count: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor, Targets, torch.Tensor]:
    torch.manual_seed(0)
    features, head = torch.randn(count, 8), torch.randn(vocabulary, 8)
    rows = torch.arange(count).repeat_interleave(3)
    ids = torch.randint(vocabulary, (count * 3,))
    weights = torch.rand(count, 3).softmax(1).flatten()
    dense = torch.zeros(count, vocabulary).index_put_((rows, ids), weights, accumulate=True)
    return features, head, Targets(rows, ids, weights), dense


@pytest.mark.parametrize("count", [5, 700])
def test_loss_and_gradients_are_those_of_the_dense_cross_entropy(count: int) -> None:
    features, head, targets, dense = _example(count, 30)
    found = [features.clone().requires_grad_(), head.clone().requires_grad_()]
    expected = [features.clone().requires_grad_(), head.clone().requires_grad_()]
    loss = sparse_cross_entropy(found[0], found[1], targets, torch.float32)
    reference = torch.nn.functional.cross_entropy(expected[0] @ expected[1].T, dense)
    (2 * loss).backward()
    (2 * reference).backward()
    assert torch.allclose(loss, reference, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_bf16_is_close_to_float32() -> None:
    features, head, targets, _ = _example(40, 30)
    exact, reduced = (sparse_cross_entropy(features, head, targets, t) for t in (torch.float32, torch.bfloat16))
    assert torch.allclose(exact, reduced, rtol=0.02)
