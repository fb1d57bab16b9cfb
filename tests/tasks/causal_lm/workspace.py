"""A workspace of two tiny language models: a teacher compressed only, and distilled; built by the stages in process."""

import json
import random
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pipeline.files import sha256
from pipeline.layout import Engine
from stages import data, distill, export, prune, quantize, teacher, verify
from tests.fleet.workspace import BENCHMARK, ROOT, edit_params
from tests.teacher import tiny_language_models as tiny

WHOLE, SMALL = "bard-chat", "bard"
TEACHER = "teacher"
VOCABULARY, STUDENT_VOCABULARY, CONTEXT = 340, 300, 160
CASES = {
    "token": {"batch": 1, "tokens": 1, "before": 20, "threads": 1},
    "prompt": {"batch": 1, "tokens": 24, "before": 0, "threads": 1},
}
_GROUPS, _DOCUMENTS, _WORDS = 8, 25, 42
# As SmolLM2's, with what opens an answer.
TEMPLATE = tiny.TEMPLATE + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

# Budgets that only a broken build can miss: random weights foretell nothing, and the machine may be busy.
_BUDGETS: Mapping[str, Any] = {
    "case": "none",
    "cases": CASES,
    "params": 3_000_000,
    "macs": "none",
    **{
        engine.value: {"p95_ms": {"token": 60_000, "prompt": 60_000}, "size_bytes": "none", "memory_bytes": "none"}
        for engine in Engine
    },
}
_QUALITY = {"bits_per_byte": 100, "int8_bits_growth": 0.01, "fp32_same_text": 1.0}
_LADDER = {
    "fp32": {"inference": "f32"},
    "int8": {"inference": "f32", "tolerance": 0.05, "max_float_layers": 0},
}
_TINY: Mapping[str, Any] = {
    "data": {
        "source": "text",
        "train_bytes": 20_000,
        "validation_documents": 3,
        "heldout_documents": 6,
        "judged_bytes": 150,
        "holdout_fraction": 0.35,
    },
    "export": {"tokens": [1, 32], "caches": [64, CONTEXT], "ladder": _LADDER},
    "verify": {
        "examples": 3,
        "teacher_examples": 2,
        "tolerances": {
            "teacher": {"mean_cosine": 0.9999, "max_abs_error": 0.01},
            "fp32": {"mean_cosine": 0.9999, "max_abs_error": 0.01},
            "int8": {"mean_cosine": 0.99, "max_abs_error": 0.05},
        },
    },
    "budgets": _BUDGETS,
}
_LABEL = {"vocabulary": STUDENT_VOCABULARY, "bytes": 2000, "top": 8, "drawn": 4}
_STUDENT = {"hidden_dim": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 64}
_DISTILL = {"tokens": 600, "windows": 2, "window_tokens": 32, "precision": "f32"}


def write(root: Path) -> None:
    """Write params.yaml, the teacher and texts below `root`."""
    texts = write_texts(root / "data" / "raw")
    folder = root / TEACHER
    tiny.write_folder(folder, tiny.random_model("llama", vocab_size=VOCABULARY, max_position_embeddings=256))
    tiny.tokenizer(VOCABULARY, "\n".join(texts)).save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}), encoding="utf-8")
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    # A model card names what it was built with.
    (root / "requirements.lock").write_bytes((ROOT / "requirements.lock").read_bytes())
    edit_params(root / "params.yaml", lambda params: _shrink(params, sha256(folder / "model.safetensors")))


def write_texts(folder: Path) -> list[str]:
    """Documents of a few made-up words each, in several groups; no two share a phrase."""
    rng = random.Random(7)
    words = ["".join(rng.choices("aeioulmnrst", k=rng.randint(2, 7))) for _ in range(150)]
    folder.mkdir(parents=True)
    texts = []
    with (folder / "texts.jsonl").open("w", encoding="utf-8") as stream:
        for index in range(_GROUPS * _DOCUMENTS):
            texts.append(" ".join(rng.choices(words, k=_WORDS)) + ".")
            stream.write(json.dumps({"group": f"g{index % _GROUPS}", "text": texts[-1]}) + "\n")
    return texts


def build(model: str) -> None:
    """Run the model's stages up to verify in the current folder."""
    for stage in (data, teacher, distill, prune, quantize):
        stage.run(model)
    for engine in Engine:
        export.run(model, engine.value)
    verify.run(model)


def _shrink(params: Any, checksum: str) -> None:
    models = {name: params["models"][name] for name in (WHOLE, SMALL)}
    params["models"], params["fleet"] = models, dict.fromkeys(models, "causal_lm")
    params["benchmark"].update(BENCHMARK)
    for model in models.values():
        for block, values in _TINY.items():
            model[block].update(deepcopy(values))
        model["budgets"]["quality"] = dict(_QUALITY)
        model["teacher"].update(sources=[{"path": TEACHER}], sha256=checksum)
    models[SMALL]["teacher"]["label"] = _LABEL
    models[SMALL]["student"].update(_STUDENT)
    models[SMALL]["distill"].update(_DISTILL)
