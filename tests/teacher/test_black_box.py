"""A SavedModel as teacher, against the TensorFlow module that it was saved from."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.layout import ModelLayout
from pipeline.params.file import load_params
from pipeline.tasks.sentence_embedding import serving
from pipeline.tasks.sentence_embedding import teacher as stage
from pipeline.tasks.sentence_embedding.params import ModelParams
from pipeline.tasks.sentence_embedding.teacher import SavedModelTeacher
from pipeline.teacher import sources
from pipeline.text import label, storage
from pipeline.text.split import Corpus
from pipeline.text.texts import Passage
from pipeline.weights import load_tensors
from tests.work import work_in

tf = pytest.importorskip("tensorflow", reason="needs the extra `tensorflow`")

_ROOT = Path(__file__).parents[2]
_DIM = 16
_IDS = np.array([[101, 2003, 102, 0], [101, 1998, 2003, 102]], np.int32)
_MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)


class _Module(tf.Module):  # type: ignore[misc]
    def __init__(self, pooled: bool) -> None:
        super().__init__()
        table = np.random.default_rng(0).normal(size=(30522, _DIM)).astype(np.float32)
        self.table, self.pooled = tf.Variable(table), pooled

    def run(self, input_ids: Any, attention_mask: Any) -> Any:
        rows = tf.tanh(tf.gather(self.table, input_ids))
        if not self.pooled:
            return {"tokens": rows}
        weights = tf.cast(attention_mask, tf.float32)[:, :, None]
        return {"embedding": tf.reduce_sum(rows * weights, 1) / tf.reduce_sum(weights, 1)}


def _save(folder: Path, pooled: bool = True, dtype: Any = None) -> _Module:
    module = _Module(pooled)
    specs = {name: tf.TensorSpec([None, None], dtype or tf.int32, name) for name in ("input_ids", "attention_mask")}
    signature = tf.function(module.run).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    return module


@pytest.mark.parametrize("pooled", [True, False])
def test_embeddings_are_the_modules_at_unit_length(tmp_path: Path, pooled: bool) -> None:
    _save(tmp_path / "saved", pooled, tf.int32 if pooled else tf.int64)
    given = SavedModelTeacher(tmp_path / "saved")(torch.from_numpy(_IDS), torch.from_numpy(_MASK)).numpy()
    wanted = _Module(True).run(tf.constant(_IDS), tf.constant(_MASK))["embedding"].numpy()
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert given.shape == (2, _DIM)
    np.testing.assert_allclose(given, wanted, atol=1e-6)


def test_another_signature_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    function = tf.function(lambda text: {"embedding": text}).get_concrete_function(tf.TensorSpec([None], name="text"))
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": function})
    with pytest.raises(InputError, match=r"takes \['text'\] .*\['attention_mask', 'input_ids'\] and one output"):
        SavedModelTeacher(tmp_path / "saved")


def test_a_saved_model_without_a_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"))
    with pytest.raises(InputError, match="saved has no signature serving_default"):
        SavedModelTeacher(tmp_path / "saved")


def _params(folder: Path) -> ModelParams:
    model = load_params(_ROOT / "params.yaml").params.models["docs-embed"].model_dump()
    teacher = {"sources": [{"saved_model": folder.name}], "sha256": sources.folder_sha256(folder)}
    return ModelParams.model_validate({**model, "teacher": {**model["teacher"], **teacher}})


def test_the_teacher_stage_runs_on_it(tmp_path: Path, minilm: Path) -> None:
    saved, paths = tmp_path / "saved", ModelLayout(tmp_path, "m")
    _save(saved)
    shutil.copyfile(minilm / "tokenizer.json", saved / "tokenizer.json")
    paths.data.mkdir(parents=True)
    paths.teacher.mkdir(parents=True)
    pairs = (Passage("read a file", "reads all lines of a file"), Passage("open a socket", "opens and waits"))
    storage.save(Corpus(("one text", "another text"), ("a third",), ("x y", "z", "u v w"), pairs, {}), paths.data)

    report = stage.run_teacher(work_in(tmp_path, _params(saved), paths.teacher, seed=0)).report

    assert report.facts["black_box"]
    assert (report.facts["output_dim"], report.params, report.size_bytes) == (_DIM, None, None)
    assert set(report.quality) == {"recall_at_1", "recall_at_10"}
    tokens, embeddings = label.load_labels(paths.teacher)
    np.testing.assert_array_equal(tokens.ids, [101, 2028, 3793, 102, 101, 2178, 3793, 102])
    assert embeddings.shape == (2, _DIM)
    vocabulary = load_tensors(paths.teacher / label.VOCABULARY)["embeddings"]
    row = np.tanh(_Module(True).table.numpy()[[101, 2003, 102]]).mean(axis=0)
    np.testing.assert_allclose(vocabulary[2003], row / np.linalg.norm(row), atol=1e-3)
    assert (paths.teacher / "tokenizer.json").is_file()
    assert serving.load_teacher(paths) is None
