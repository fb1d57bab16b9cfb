import numpy as np
import pytest

from pipeline.runtime.pieces import Piece, cut

_LENGTHS = {1: 1, 32: 32, 128: 1}


def _cut(count: int, rows: list[int] | None = None, room: int = 1024) -> list[tuple[int, int]]:
    wanted = np.array([count - 1] if rows is None else rows, np.int32)
    pieces = cut(count, wanted, _LENGTHS, room)
    assert [piece.start for piece in pieces] == np.cumsum([0, *(piece.count for piece in pieces)])[:-1].tolist()
    assert sum(piece.count for piece in pieces) == count
    return [(piece.count, piece.length) for piece in pieces]


@pytest.mark.parametrize(
    ("count", "pieces"),
    [
        (1, [(1, 1)]),
        (3, [(1, 1)] * 3),
        (20, [(20, 32)]),
        (32, [(32, 32)]),
        (33, [(32, 32), (1, 1)]),
        (120, [(120, 128)]),
        (128, [(128, 128)]),
        (160, [(128, 128), (32, 32)]),
    ],
)
def test_pieces_cost_the_least(count: int, pieces: list[tuple[int, int]]) -> None:
    assert sorted(_cut(count)) == sorted(pieces)


def test_only_the_last_piece_is_filled_up() -> None:
    for count in range(1, 300):
        assert all(held == length for held, length in _cut(count)[:-1])


def test_a_piece_does_not_reach_past_the_room() -> None:
    assert _cut(20, room=20) == [(1, 1)] * 20
    assert _cut(20, room=32) == [(20, 32)]


def test_many_rows_go_to_the_length_that_gives_them() -> None:
    assert _cut(128, rows=list(range(128))) == [(32, 32)] * 4


def test_a_length_that_gives_too_few_rows_is_better_than_single_tokens() -> None:
    assert cut(128, np.array([60, 127]), {1: 1, 128: 1}, 1024) == [Piece(0, 128, 128)]
