import numpy as np

from pipeline.engines.tflite.decoder_products import BLOCK, round_to_blocks, round_to_rows


def _restored(numbers: np.ndarray, scales: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    blocks = numbers.reshape(len(numbers), -1, BLOCK) * scales.astype(np.float32)[..., None] + offsets[..., None]
    restored: np.ndarray = blocks.reshape(numbers.shape)
    return restored


def test_blocks_of_a_q4_1_file_come_out_as_they_were() -> None:
    generator = np.random.default_rng(0)
    q = generator.integers(0, 16, (6, 4, BLOCK))
    q[..., 0], q[..., 1] = 0, 15  # its writer meets the smallest and the largest weight too
    scales = generator.uniform(0.001, 0.05, (6, 4, 1)).astype(np.float16).astype(np.float32)
    smallest = generator.uniform(-0.5, 0.1, (6, 4, 1)).astype(np.float16).astype(np.float32)
    matrix = (q * scales + smallest).reshape(6, -1).astype(np.float32)
    rounded = round_to_blocks(matrix)
    np.testing.assert_array_equal(rounded[0].reshape(q.shape) + 8, q)
    np.testing.assert_array_equal(rounded[1][..., None], scales.astype(np.float16))
    np.testing.assert_allclose(_restored(*rounded), matrix, atol=1e-6)


def test_blocks_are_off_by_half_a_step_at_most() -> None:
    matrix = np.random.default_rng(1).normal(size=(8, 3 * BLOCK)).astype(np.float32)
    numbers, scales, offsets = round_to_blocks(matrix)
    assert (numbers.min(), numbers.max()) == (-8, 7)
    off = np.abs(_restored(numbers, scales, offsets) - matrix).reshape(8, 3, BLOCK)
    # A float16 scale is up to 2^-11 off, which 15 steps add up.
    assert (off <= scales.astype(np.float32)[..., None] * (0.5 + 15 / 2048)).all()


def test_a_constant_block_stays_as_it_is() -> None:
    matrix = np.full((2, BLOCK), 0.25, np.float32)
    numbers, scales, offsets = round_to_blocks(matrix)
    assert (scales >= np.finfo(np.float16).tiny).all(), "kernels refuse scales that are not normal numbers"
    np.testing.assert_allclose(_restored(numbers, scales, offsets), matrix, atol=1e-7)


def test_rows_meet_their_largest_weight_and_zeros_stay_zeros() -> None:
    numbers, scales = round_to_rows(np.array([[0.5, -1.0, 0.25], [0, 0, 0]], np.float32))
    assert numbers.tolist() == [[64, -127, 32], [0, 0, 0]]
    np.testing.assert_allclose(numbers * scales[:, None], [[0.5, -1, 0.25], [0, 0, 0]], atol=0.005)
