"""What is timed of a case, seen from inside the child."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from pipeline.benchmark.child import CaseInputs, read_inputs, timed
from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.session import open_session
from tests.benchmark.tiny_onnx import mean_embedding, running_sum


def _token(value: int, position: int) -> dict[str, "np.ndarray"]:
    return {"tokens": np.array([[value]], np.int32), "position": np.array([position], np.int32)}


def test_inputs_are_read_by_case_with_what_runs_before(tmp_path: Path) -> None:
    arrays = {"a.ids": np.ones(1), "b.ids": np.ones(2), "b.before.ids": np.ones(3), "c.ids": np.ones(4)}
    save_file(arrays, tmp_path / "inputs.safetensors")
    inputs = read_inputs(tmp_path / "inputs.safetensors", ["a", "b"])
    sizes = {name: (len(one.timed["ids"]), [len(x) for x in one.before.values()]) for name, one in inputs.items()}
    assert sizes == {"a": (1, []), "b": (2, [3])}
    with pytest.raises(ValueError, match="has no inputs for d"):
        read_inputs(tmp_path / "inputs.safetensors", ["a", "d"])


def test_each_run_of_a_state_starts_where_the_prompt_ended(tmp_path: Path) -> None:
    onnx.save(running_sum(capacity=3), tmp_path / "sum.onnx")
    session = open_session("onnxruntime", tmp_path / "sum.onnx", 1)
    run = timed(session, CaseInputs(timed=_token(5, 1), before=_token(3, 0)))
    assert run.reset is not None
    for _ in range(4):
        run.reset()
        # The prompt's 3 is there, and the 5 of an earlier run was overwritten by this one's.
        assert run.call().item() == 8


def test_a_model_without_state_is_run_as_it_is(tmp_path: Path) -> None:
    onnx.save(mean_embedding(), tmp_path / "mean.onnx")
    session = open_session("onnxruntime", tmp_path / "mean.onnx", 1)
    ids = np.ones((1, 4), np.int32)
    inputs = {"input_ids": ids, "attention_mask": ids}
    run = timed(session, CaseInputs(timed=inputs))
    assert run.reset is None
    assert run.call().shape == (1, 8)
    with pytest.raises(RuntimeInputError, match="before the clock starts, but the model carries no state"):
        timed(session, CaseInputs(timed=inputs, before=inputs))
