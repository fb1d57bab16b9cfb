import numpy as np

from pipeline.engines.onnxruntime.gptq import round_by_examples


def _case() -> tuple[np.ndarray, np.ndarray]:
    """A weight `[48, 128]`, and inputs `[1000, 128]` that depend on each other, as a model's do."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((1000, 24)) @ random.standard_normal((24, 128))
    inputs += 0.3 * random.standard_normal(inputs.shape)
    return random.standard_normal((48, 128)).astype(np.float32), inputs.astype(np.float32)


def _restored(weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
    rounded = round_by_examples(weight, squares, 64)
    assert rounded.q.shape == (48, 2, 64)
    assert max(rounded.q.max(), rounded.zeros.max()) <= 15
    values = rounded.scales[..., None] * (rounded.q.astype(np.float32) - rounded.zeros[..., None])
    return values.reshape(weight.shape)


def test_outputs_change_far_less_than_by_rounding_to_the_nearest() -> None:
    weight, inputs = _case()
    by_examples = _restored(weight, inputs.T @ inputs)
    # Inputs that do not depend on each other leave nothing to make good.
    nearest = _restored(weight, np.eye(128, dtype=np.float32))
    lost, lost_nearest = (np.linalg.norm(inputs @ (restored - weight).T) for restored in (by_examples, nearest))
    assert lost < 0.6 * lost_nearest


def test_weights_stay_near_with_inputs_that_are_always_zero() -> None:
    weight, inputs = _case()
    inputs[:, 5] = 0
    restored = _restored(weight, inputs.T @ inputs)
    assert np.abs(restored[:, 5] - weight[:, 5]).max() < 1


def test_the_given_weight_is_not_changed() -> None:
    weight, inputs = _case()
    before = weight.copy()
    round_by_examples(weight, inputs.T @ inputs, 64)
    np.testing.assert_array_equal(weight, before)
