"""The decoder with a cache says what it says without one."""

import pytest
import torch

from pipeline.students.decoder import Decoder, DecoderConfig, rotate, rotation_at

_TINY = DecoderConfig(
    vocabulary=61, hidden_dim=24, layers=2, heads=4, kv_heads=2, head_dim=6, ffn_dim=40,
    rope_theta=1e4, norm_epsilon=1e-5, max_tokens=64,
)  # fmt: skip
_CACHE = 20


def _decoder(**changes: object) -> Decoder:
    torch.manual_seed(3)
    model = Decoder(DecoderConfig.from_json({**_TINY.as_json(), **changes})).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def _state(config: DecoderConfig) -> tuple[torch.Tensor, ...]:
    # What lies behind the position must not be read, whatever it is.
    shape = (1, config.kv_heads, _CACHE, config.head_dim)
    return tuple(torch.full(shape, 7.0) for _ in range(2 * config.layers))


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": True}, {"qk_norm": True}, {"tied": False}])
@torch.no_grad()
def test_pieces_with_a_cache_give_the_logits_of_the_whole_text(changes: dict[str, object]) -> None:
    model = _decoder(**changes)
    tokens = torch.randint(0, _TINY.vocabulary, (1, 13))
    wanted = model.logits(tokens)[0]
    state, given = _state(model.config), []
    for start, end in ((0, 5), (5, 6), (6, 12), (12, 13)):
        piece = tokens[:, start:end]
        logits, *state = model(piece, torch.tensor([start]), torch.arange(end - start), *state)
        given.append(logits)
    torch.testing.assert_close(torch.cat(given), wanted)


@torch.no_grad()
def test_a_call_gives_the_rows_that_it_is_asked_for() -> None:
    model = _decoder()
    tokens, position = torch.randint(0, _TINY.vocabulary, (1, 9)), torch.tensor([0])
    all_rows = model(tokens, position, torch.arange(9), *_state(model.config))[0]
    last = model(tokens, position, torch.tensor([8]), *_state(model.config))[0]
    torch.testing.assert_close(last, all_rows[8:])


@torch.no_grad()
def test_a_call_leaves_the_state_that_it_was_given_as_it_was() -> None:
    model = _decoder()
    state = _state(model.config)
    model(torch.tensor([[1, 2]]), torch.tensor([0]), torch.tensor([1]), *state)
    assert all(bool((tensor == 7.0).all()) for tensor in state)


def test_rotation_depends_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, _TINY.head_dim)
    products = []
    for position in (0, 11):
        turned = rotate(query, *rotation_at(position + 4, 1, _TINY)), rotate(key, *rotation_at(position, 1, _TINY))
        products.append((turned[0] * turned[1]).sum())
    torch.testing.assert_close(products[0], products[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"), ({"head_dim": 5}, "head_dim 5 is odd")],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecoderConfig.from_json({**_TINY.as_json(), **changes})
