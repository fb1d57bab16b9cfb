import numpy as np
import torch

from pipeline.compress.tokens.labels import PieceSum, Sparsity, join, label, sparse
from pipeline.compress.tokens.teachers import by_decoder

from .conftest import aligned_texts, tiny_decoder


def test_probabilities_are_summed_by_first_piece_and_dropped_tokens_are_left_out() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    summed = PieceSum(np.array([2, 0, 2, -1]), vocabulary=3)(np.log(probabilities))
    assert np.allclose(summed, np.array([[0.2, 0.0, 0.4]]) / 0.6, atol=1e-6)


def test_what_is_kept_of_a_distribution_is_it_on_average() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(50, 0.3), size=3).astype(np.float32)
    sums = np.zeros_like(probabilities, dtype=np.float64)
    rng = np.random.default_rng(1)
    for _ in range(2000):
        ids, weights = sparse(probabilities, Sparsity(top=4, drawn=3), rng)
        for row in range(3):
            np.add.at(sums[row], ids[row], weights[row].astype(np.float64))
    assert np.allclose(sums / 2000, probabilities, atol=0.01)


def test_the_most_probable_tokens_keep_their_own_probabilities() -> None:
    probabilities = np.array([[0.5, 0.1, 0.3, 0.1]], np.float32)
    ids, weights = sparse(probabilities, Sparsity(top=2, drawn=1), np.random.default_rng(0))
    kept = dict(zip(ids[0, :2].tolist(), weights[0, :2].tolist(), strict=True))
    assert np.isclose(kept[0], 0.5, atol=1e-3) and np.isclose(kept[2], 0.3, atol=1e-3)
    assert ids[0, 2] in (1, 3) and np.isclose(weights[0, 2], 0.2, atol=1e-3)


def test_labels_are_the_teachers_probabilities_at_their_places() -> None:
    model, texts = tiny_decoder(40), aligned_texts(9)
    labels = label(texts, by_decoder(model), np.arange(40) % 20, 20, Sparsity(20, 0), np.random.default_rng(0))
    assert labels.tokens.tolist() == np.concatenate([one.student for one in texts]).tolist()
    text = texts[4]
    logits = model.logits(torch.from_numpy(text.teacher[None]))[0, 2].softmax(-1)
    expected = (logits[:20] + logits[20:]).detach().numpy()
    row = int(np.flatnonzero(labels.places == labels.offsets[4] + 2)[0])
    found = np.zeros(20)
    found[labels.ids[row]] = labels.weights[row]
    assert np.allclose(found[np.argsort(expected)[1:]], np.sort(expected)[1:], atol=1e-3)


def test_joined_labels_point_into_the_joined_tokens() -> None:
    texts = aligned_texts(6)
    arguments = (by_decoder(tiny_decoder(40)), np.arange(40) % 20, 20, Sparsity(4, 0))
    whole = label(texts, *arguments, np.random.default_rng(0))
    parts = [label(part, *arguments, np.random.default_rng(0)) for part in (texts[:2], texts[2:])]
    joined = join(parts)
    for name in ("tokens", "offsets", "places"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name))
