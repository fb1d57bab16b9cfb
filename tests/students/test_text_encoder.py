import torch
from torch.nn import functional

from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig, mean

_CONFIG = TextEncoderConfig(
    vocabulary=20, embedding_dim=6, hidden_dim=8, heads=2, ffn_dims=(16, 24), max_tokens=12, output_dim=10
)


def _student() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(_CONFIG).eval()


def _text(*ids: int) -> torch.Tensor:
    return torch.tensor([ids], dtype=torch.int32)


@torch.inference_mode()
def test_padding_does_not_change_an_embedding() -> None:
    model = _student()
    alone = model(_text(3, 7, 2), torch.ones(1, 3, dtype=torch.int32))
    for length in (4, 12):
        ids = functional.pad(_text(3, 7, 2), (0, length - 3))
        mask = functional.pad(torch.ones(1, 3, dtype=torch.int32), (0, length - 3))
        torch.testing.assert_close(model(ids, mask), alone, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_a_text_does_not_depend_on_its_batch() -> None:
    model = _student()
    alone = model(_text(3, 7), torch.ones(1, 2, dtype=torch.int32))
    ids = torch.tensor([[3, 7, 0, 0], [1, 2, 3, 4]], dtype=torch.int32)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.int32)
    torch.testing.assert_close(model(ids, mask)[:1], alone, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_rows_have_unit_length_and_the_output_width() -> None:
    ids = torch.randint(0, 20, (5, 12), generator=torch.Generator().manual_seed(0))
    output = _student()(ids, torch.ones_like(ids))
    assert output.shape == (5, 10)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output.norm(dim=1), torch.ones(5))


@torch.inference_mode()
def test_both_integer_types_give_the_same() -> None:
    model, mask = _student(), torch.ones(1, 3, dtype=torch.int32)
    assert torch.equal(model(_text(3, 7, 2), mask), model(_text(3, 7, 2).long(), mask.long()))


@torch.inference_mode()
def test_the_order_of_words_counts() -> None:
    model, mask = _student(), torch.ones(1, 3, dtype=torch.int32)
    assert not torch.allclose(model(_text(3, 7, 2), mask), model(_text(7, 3, 2), mask), atol=1e-4)


@torch.inference_mode()
def test_silenced_layers_leave_the_linear_path() -> None:
    model = _student()
    model.output.weight[:, : _CONFIG.hidden_dim] = 0.0
    wanted = functional.linear(
        model.tokens.weight[[3, 7, 2]].mean(dim=0), model.output.weight[:, _CONFIG.hidden_dim :], model.output.bias
    )
    given = model(_text(3, 7, 2), torch.ones(1, 3, dtype=torch.int32))[0]
    torch.testing.assert_close(given, functional.normalize(wanted, dim=0))


def test_the_mean_leaves_out_padding_and_survives_an_empty_text() -> None:
    features = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.int32)
    torch.testing.assert_close(mean(features, mask), torch.tensor([[2.0, 4.0], [0.0, 0.0]]))


def test_a_config_changes_by_copy_and_becomes_json() -> None:
    changed = _CONFIG.with_changes(vocabulary=5, ffn_dims=(8, 8))
    assert (changed.vocabulary, changed.ffn_dims, changed.output_dim) == (5, (8, 8), 10)
    assert _CONFIG.vocabulary == 20
    assert TextEncoderConfig(**changed.as_json()) == changed  # type: ignore[arg-type]
