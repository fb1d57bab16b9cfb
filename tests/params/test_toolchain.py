"""The pinned tool versions against the installed ones."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.params import toolchain
from pipeline.params.file import LoadedParams, load_params

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def loaded_with(pins: dict[str, dict[str, str | int]]) -> LoadedParams:
    loaded = load_params(SHIPPED)
    return replace(loaded, params=loaded.params.model_copy(update={"toolchain": pins}))


def test_the_shipped_pins_are_what_is_installed() -> None:
    toolchain.check(load_params(SHIPPED))


def test_a_build_of_the_pinned_version_serves() -> None:
    assert toolchain.installed_version("torch") == version("torch").split("+")[0]


def test_all_mismatches_are_named_with_lines_and_what_is_installed() -> None:
    loaded = loaded_with(
        {"training": {"torch": "1.0", "tokenizers": version("tokenizers")}, "tflite": {"no-such": "1"}}
    )
    with pytest.raises(InputError) as caught:
        toolchain.check(loaded)
    message = str(caught.value)
    installed = toolchain.installed_version("torch")
    line = loaded.line("toolchain.training.torch")
    assert f":{line}: toolchain.training.torch: is 1.0, but {installed} is installed: run `make setup`" in message
    assert "toolchain.tflite.no-such: is 1, but no-such is not installed" in message
    assert "tokenizers" not in message


def test_the_opset_is_no_package() -> None:
    toolchain.check(loaded_with({"onnxruntime": {"opset": 20}}))
