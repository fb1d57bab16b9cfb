import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.compress.embeddings.distill import Lesson, start_from_teacher, train_encoder
from pipeline.compress.embeddings.losses import EmbeddingLoss
from pipeline.compress.training import Schedule, steps_of
from pipeline.errors import StageError
from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig
from pipeline.text.tokens import Tokens

_VOCABULARY, _DIM = 30, 12


def _student(width: int) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextEncoderConfig(_VOCABULARY, width, 8, 2, (16,), 12, _DIM)).eval()


def _vocabulary() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(_VOCABULARY, _DIM)) * np.linspace(3, 0.1, _DIM) + 0.5).astype(np.float32)


def _counts() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 500, _VOCABULARY)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _texts(count: int = 40, length: int = 4) -> Tokens:
    ids = np.random.default_rng(2).integers(0, _VOCABULARY, count * length).astype(np.int32)
    return Tokens(ids, np.arange(0, count * length + 1, length, dtype=np.int64))


def _run(model: TextEncoder, tokens: Tokens) -> np.ndarray:
    ids, mask = tokens.batch(np.arange(len(tokens)))
    with torch.inference_mode():
        return model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


def test_at_full_width_the_student_is_the_mean_of_the_teachers_table() -> None:
    model, vocabulary, tokens = _student(_DIM), _vocabulary(), _texts()
    assert start_from_teacher(model, vocabulary, _counts()) == pytest.approx(1.0)
    wanted = _unit(vocabulary[tokens.ids.reshape(-1, 4)].mean(axis=1))
    np.testing.assert_allclose(_run(model, tokens), wanted, atol=1e-5)
    table = functional.linear(model.tokens.weight, model.output.weight[:, model.config.hidden_dim :], model.output.bias)
    np.testing.assert_allclose(table.detach().numpy(), vocabulary, atol=1e-5)


def test_narrower_it_is_the_mean_of_the_weighted_pca_and_the_centre() -> None:
    model, vocabulary, counts, tokens = _student(5), _vocabulary(), _counts(), _texts()
    kept = start_from_teacher(model, vocabulary, counts)

    weights = np.minimum(counts, 100).astype(np.float64)
    centre = np.average(vocabulary.astype(np.float64), axis=0, weights=weights)
    centred = vocabulary - centre
    values, vectors = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    basis = vectors[:, -5:]
    table = centred @ basis @ basis.T
    wanted = _unit(table[tokens.ids.reshape(-1, 4)].mean(axis=1) + centre)
    np.testing.assert_allclose(_run(model, tokens), wanted, atol=1e-5)
    assert kept == pytest.approx(values[-5:].sum() / values.sum(), rel=1e-5)
    assert float(model.tokens.weight.detach().std()) == pytest.approx(1.0, rel=0.01)


def test_a_token_that_never_occurs_does_not_turn_the_axes() -> None:
    vocabulary, counts = _vocabulary(), _counts()
    counts[3] = 0
    moved = vocabulary.copy()
    moved[3] = 100.0
    kept = [start_from_teacher(_student(5), table, counts) for table in (vocabulary, moved)]
    assert kept[0] == pytest.approx(kept[1], rel=1e-4)


def test_training_brings_the_student_to_its_targets() -> None:
    model, tokens = _student(_DIM), _texts()
    targets = _unit(_vocabulary()[tokens.ids.reshape(-1, 4)].mean(axis=1))
    before = (_run(model, tokens) * targets).sum(axis=1).mean()
    lesson = Lesson(tokens, targets, EmbeddingLoss(0.3, 0.5), Schedule(60, 0.03, 0.1, 0.0), 8, seed=1, label="test")
    report = train_encoder(model, lesson)
    after = (_run(model, tokens) * targets).sum(axis=1).mean()
    assert report.examples == 480
    assert after > before + 0.5


def _short_lesson(tokens: Tokens, targets: np.ndarray, seed: int) -> Lesson:
    return Lesson(tokens, targets, EmbeddingLoss(0.3, 0.05), Schedule(5, 0.02, 0.1, 0.0), 8, seed, "test")


def test_the_same_seed_trains_the_same_student() -> None:
    targets = _unit(np.random.default_rng(3).normal(size=(40, _DIM)).astype(np.float32))
    outputs = []
    for seed in (1, 1, 2):
        model = _student(5)
        train_encoder(model, _short_lesson(_texts(), targets, seed))
        outputs.append(_run(model, _texts()))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_nan_among_the_targets_stops_training() -> None:
    targets = np.full((40, _DIM), np.nan, np.float32)
    with pytest.raises(StageError, match="test: the loss became nan at step 1 of 5"):
        train_encoder(_student(5), _short_lesson(_texts(), targets, seed=1))


def test_too_few_texts_for_a_batch_are_named() -> None:
    with pytest.raises(StageError, match=r"3 training texts do not fill one batch of 8: lower distill\.batch_size"):
        train_encoder(_student(5), _short_lesson(_texts(3), np.zeros((3, _DIM), np.float32), seed=1))


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (1, 12), (0.5, 6), (0.01, 1), (2.5, 30)])
def test_steps_of_a_number_of_passes(epochs: float, steps: int) -> None:
    assert steps_of(epochs, examples=103, batch_size=8) == steps
