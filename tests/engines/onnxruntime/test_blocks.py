import numpy as np
import pytest

from pipeline.engines.onnxruntime.blocks import affine_blocks, pack, symmetric_blocks


def test_symmetric_blocks_reach_127_and_keep_zero() -> None:
    matrix = np.array([[0, 1, -2, 4, 0, 0, 0, 0]], np.float32)
    q, scales = symmetric_blocks(matrix, 4)
    assert q.tolist() == [[[128, 160, 64, 255], [128] * 4]]
    assert scales == pytest.approx(np.array([[4 / 127, 0]]))


def test_affine_blocks_find_the_blocks_that_weights_were_made_of() -> None:
    random = np.random.default_rng(0)
    q = random.integers(0, 16, (5, 3, 32), dtype=np.uint8)
    q[..., 3], q[..., 9] = 0, 15
    step = random.uniform(0.01, 0.1, (5, 3)).astype(np.float32)
    least = random.uniform(-0.9, 0.1, (5, 3)).astype(np.float32)
    found = affine_blocks((step[..., None] * q + least[..., None]).reshape(5, 96))
    np.testing.assert_array_equal(found[0], q)
    np.testing.assert_allclose(found[1], step, rtol=1e-4)
    np.testing.assert_allclose(found[2], least, atol=1e-6)


def test_affine_blocks_of_one_value_have_no_step() -> None:
    q, step, least = affine_blocks(np.full((1, 32), 0.25, np.float32))
    assert (q.any(), step.item(), least.item()) == (False, 0.0, 0.25)


def test_pack_puts_the_first_value_in_the_lower_half() -> None:
    assert pack(np.array([1, 2, 15, 0], np.uint8)).tolist() == [0x21, 0x0F]
