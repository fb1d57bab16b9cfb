import numpy as np
import pytest

from pipeline.images.split import split


def test_every_class_keeps_its_proportion_and_no_row_is_twice() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    validation, heldout, train = split(labels, (0.1, 0.2), seed=1)
    assert [np.bincount(labels[rows]).tolist() for rows in (validation, heldout, train)] == [
        [10, 5, 1],
        [20, 10, 2],
        [70, 35, 7],
    ]
    np.testing.assert_array_equal(np.sort(np.concatenate([validation, heldout, train])), np.arange(160))


@pytest.mark.parametrize("shares", [(0.01, 0.01), (0.98, 0.01), (0.01, 0.98)])
def test_every_part_has_every_class_however_small_its_share(shares: tuple[float, float]) -> None:
    labels = np.repeat([0, 1], [3, 4])
    for rows in split(labels, shares, seed=1):
        assert set(labels[rows].tolist()) == {0, 1}


def test_nothing_is_cut_without_shares() -> None:
    (rest,) = split(np.array([1, 0, 1]), (), seed=1)
    assert rest.tolist() == [0, 1, 2]


def test_a_class_with_fewer_images_than_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="class 1 has 2 images for 3 parts"):
        split(np.array([0, 0, 0, 1, 1]), (0.2, 0.2), seed=1)
