from pathlib import Path

import pytest

from pipeline.engines.exporter import exporter, refusal
from pipeline.engines.samples import open_sizes, sample_inputs
from pipeline.engines.spec import ModelSpec, TensorSpec, signature_name
from pipeline.errors import StageError
from pipeline.layout import Engine


def test_axis_names_are_each_listed_once_in_order(text_spec: ModelSpec) -> None:
    assert text_spec.axis_names() == ("batch", "length")


def test_an_axis_that_only_the_output_names_does_not_vary(text_spec: ModelSpec) -> None:
    spec = ModelSpec(text_spec.inputs, TensorSpec("y", "float32", ("batch", "dim")), text_spec.shapes)
    assert spec.axis_names() == ("batch", "length")
    assert open_sizes(spec) == open_sizes(text_spec)


def test_signature_names_give_each_axis_and_size() -> None:
    assert signature_name({"batch": 8, "length": 32}) == "b8_l32"


def test_open_sizes_avoid_one_and_equal_sizes_and_limits(text_spec: ModelSpec) -> None:
    assert open_sizes(text_spec) == {"batch": 2, "length": 7}
    spec = ModelSpec(text_spec.inputs, text_spec.output, ({"batch": 1, "length": 2},))
    assert open_sizes(spec) == {"batch": 2, "length": 3}


def test_samples_have_the_declared_shape_and_type(text_spec: ModelSpec, image_spec: ModelSpec) -> None:
    ids, mask = sample_inputs(text_spec, {"batch": 2, "length": 7})
    assert ids.shape == mask.shape == (2, 7)
    assert str(ids.dtype) == "torch.int32"
    first, second = sample_inputs(image_spec, {"batch": 2})[0], sample_inputs(image_spec, {"batch": 2})[0]
    assert first.shape == (2, 3, 32, 32)
    assert first.equal(second)
    assert str(first.dtype) == "torch.float32"


@pytest.mark.parametrize("engine", list(Engine))
def test_each_engine_has_an_exporter_of_its_name(engine: Engine) -> None:
    assert exporter(engine).name is engine


def test_refusal_names_engine_file_and_cause() -> None:
    error = refusal(Engine.TFLITE, "export", Path("x/fp32.tflite"), ValueError("no such op\n\nat line 3"))
    assert isinstance(error, StageError)
    assert str(error).startswith("tflite cannot export fp32.tflite: ValueError: no such op | at line 3; ")
