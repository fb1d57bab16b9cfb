import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.text.quality import cosine_similarities, fidelity_spearman, recall_at


def _unit(rows: int, seed: int, width: int = 5) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _angles(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_identical_embeddings_have_full_fidelity() -> None:
    assert fidelity_spearman(_unit(8, 0), _unit(8, 0)) == pytest.approx(1.0)


def test_fidelity_is_about_order_alone() -> None:
    # Similarities of the pairs: the angles between them, in the same order, though not of the same size.
    assert fidelity_spearman(_angles(0, 10, 40), _angles(0, 20, 90)) == pytest.approx(1.0)


def test_fidelity_of_hand_made_ranks() -> None:
    # Distances of pairs (0,1) (0,2) (1,2): 10 40 30 against 30 40 10, ranks 3 1 2 against 2 1 3.
    assert fidelity_spearman(_angles(0, 10, 40), _angles(0, 30, 40)) == pytest.approx(0.5)
    # ... and against 40 10 50: ranks 2 3 1.
    assert fidelity_spearman(_angles(0, 10, 40), _angles(0, 40, -10)) == pytest.approx(-0.5)


def test_fidelity_is_scipys_and_widths_may_differ() -> None:
    student, teacher = _unit(20, 0), _unit(20, 1, width=9)
    pairs = np.triu_indices(20, k=1)
    wanted = spearmanr((student @ student.T)[pairs], (teacher @ teacher.T)[pairs]).statistic
    assert fidelity_spearman(student, teacher) == pytest.approx(float(wanted), abs=1e-9)


@pytest.mark.parametrize(("student", "teacher"), [(4, 5), (2, 2)])
def test_fidelity_needs_the_same_texts_and_three_of_them(student: int, teacher: int) -> None:
    with pytest.raises(ValueError, match=f"at least 3: {student} and {teacher} given"):
        fidelity_spearman(_unit(student, 0), _unit(teacher, 0))


def test_recall_of_identical_embeddings_is_full() -> None:
    assert recall_at(_unit(8, 0), _unit(8, 0), 1) == 1.0


def test_recall_of_hand_made_ranks() -> None:
    documents = _angles(0, 90, 180, 270)
    # Ranks of the right documents: 1, 2 (0 is nearer), 4 (it lies opposite), 1.
    queries = _angles(5, 40, 1, 265)
    assert [recall_at(queries, documents, count) for count in (1, 2, 3, 4)] == [0.5, 0.75, 0.75, 1.0]


def test_a_constant_embedding_recalls_nothing() -> None:
    constant = np.tile(_unit(1, 0), (20, 1))
    assert recall_at(constant, constant, 1) == 0.0
    assert recall_at(constant, constant, 10) == 0.0
    assert recall_at(_unit(20, 0), constant, 10) == 0.0


def test_cosine_of_rows_of_any_length() -> None:
    a = np.array([[3, 4], [1, 0], [0, 0]], np.float32)
    b = np.array([[6, 8], [0, 2], [1, 1]], np.float32)
    np.testing.assert_allclose(cosine_similarities(a, b), [1.0, 0.0, 0.0], atol=1e-6)
