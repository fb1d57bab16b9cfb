import numpy as np
import pytest

from pipeline.engines.exporter import LayerError
from pipeline.engines.layer_errors import NoiseMeter, Probe, examples
from pipeline.engines.spec import ModelSpec


def _value(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float32)


def test_a_layer_is_charged_with_the_noise_it_adds_alone() -> None:
    meter = NoiseMeter()
    meter.add({"a": _value(3, 4), "b": _value(0, 10)}, {"a": _value(3, 3), "b": _value(0, 7)})
    first, second = meter.rank([Probe("first", ("image",), "a"), Probe("second", ("a",), "b")])
    # Squared noise by squared signal: 1/25 at a, 9/100 at b.
    assert (first.name, first.error) == ("second", pytest.approx(np.sqrt(0.09 - 0.04)))
    assert (second.name, second.error) == ("first", pytest.approx(0.2))


def test_noise_is_summed_over_examples_and_never_negative() -> None:
    meter = NoiseMeter()
    meter.add({"a": _value(1), "b": _value(1)}, {"a": _value(2), "b": _value(1)})
    meter.add({"a": _value(1), "b": _value(1)}, {"a": _value(1), "b": _value(1)})
    ranked = meter.rank([Probe("one", (), "a"), Probe("two", ("a",), "b")])
    assert ranked == [LayerError("one", pytest.approx(np.sqrt(0.5))), LayerError("two", 0.0)]


def test_layers_of_one_name_are_one_and_unrecorded_ones_are_left_out() -> None:
    meter = NoiseMeter()
    meter.add({"a": _value(1), "b": _value(1), "c": _value(1, 2)}, {"a": _value(1.5), "b": _value(2), "c": _value(1)})
    ranked = meter.rank([Probe("x", (), "a"), Probe("x", (), "b"), Probe("y", (), "c"), Probe("z", (), "d")])
    assert ranked == [LayerError("x", 1.0)]


def test_examples_are_batches_of_one_by_input_name(image_spec: ModelSpec) -> None:
    made = examples(image_spec, {"pixels": np.arange(3), "other": np.arange(3)}, 2)
    assert [one["pixels"].tolist() for one in made] == [[0], [1]]
    assert len(examples(image_spec, {"pixels": np.arange(3)})) == 3
