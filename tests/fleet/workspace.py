"""A tiny fleet that is real from the teacher to the release: its workspace, and the commands that a user would type."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.corpus.docstrings import docstrings, python_files
from pipeline.corpus.texts import Passage, read_docstring
from pipeline.files import sha256
from pipeline.layout import Engine, Layout, ModelLayout, Variant

ROOT = Path(__file__).parents[2]
MODEL = "docs-embed"
TEACHER = "teacher"
TEXT_FILES, PARAGRAPHS = 8, 240

# Small enough to build in a minute; budgets that only a test which changes them can miss.
TINY: dict[str, Any] = {
    "data": {
        "source": "text",
        "max_train_texts": 320,
        "validation_texts": 10,
        "heldout_texts": 40,
        "retrieval_pairs": 10,
        "holdout_fraction": 0.45,
    },
    "teacher": {"sources": [{"path": TEACHER}], "batch_tokens": 8192},
    "student": {"embedding_dim": 16, "hidden_dim": 32, "layers": 1, "heads": 2, "ffn_dim": 64},
    "distill": {"epochs": 1, "batch_size": 16, "max_tokens": 48},
    "prune": {"epochs": 0.2},
    "quantize": {"epochs": 0.2, "calibration_texts": 16},
    "export": {"lengths": [16, 32], "batch": 2},
    "verify": {"texts": 8, "teacher_texts": 4},
    "budgets": {
        "case": {"batch": 1, "length": 32, "threads": 1},
        "params": 3_000_000,
        "quality": {"fidelity_spearman": "none", "int8_fidelity_drop": "none", "recall_at_1_kept": "none"},
        **{engine.value: {"p95_ms": 1000, "size_bytes": 4_000_000, "memory_bytes": 4_000_000_000} for engine in Engine},
    },
}
TINY["verify"]["tolerances"] = {variant.value: {"mean_cosine": 0.8, "max_abs_error": 0.5} for variant in Variant}
BENCHMARK = {"blocks": 2, "warmup_runs": 1, "block_seconds": 0.02, "max_block_runs": 50}


@dataclass(frozen=True)
class Done:
    """How a command ended and what it wrote."""

    code: int
    out: str
    error: str

    @property
    def said(self) -> str:
        return self.out + self.error

    @property
    def ran(self) -> set[str]:
        """The stages that `dvc repro` ran; it skipped the others."""
        return set(re.findall(r"^Running stage '([^']+)'", self.said, re.MULTILINE))


@dataclass(frozen=True)
class Fleet:
    """A workspace with a fleet of one model."""

    root: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def paths(self) -> ModelLayout:
        return self.layout.model(MODEL)

    def dvc(self, *arguments: str) -> Done:
        return self._run("-m", "dvc", *arguments)

    def stage(self, name: str, *arguments: str) -> Done:
        return self._run("-m", f"stages.{name}", *arguments)

    def bardlet(self, *arguments: str) -> Done:
        return self._run("-m", "pipeline.cli", *arguments) if _is_runnable() else self._run("-c", _CLI, *arguments)

    def start(self, stage: str) -> "subprocess.Popen[bytes]":
        """A stage of the model that runs in the background."""
        command = [sys.executable, "-m", f"stages.{stage}", MODEL]
        return subprocess.Popen(command, cwd=self.root, env=environment(self.root), stderr=subprocess.DEVNULL)

    def set(self, key: str, value: object) -> None:
        """Change `models.<MODEL>.<key>` in params.yaml as a person would: only its line differs."""

        def change(params: Any) -> None:
            *blocks, last = key.split(".")
            block = params["models"][MODEL]
            for name in blocks:
                block = block[name]
            block[last] = value

        edit_params(self.root / "params.yaml", change)

    def _run(self, *arguments: str) -> Done:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env=environment(self.root),
            capture_output=True,
            text=True,
            timeout=900,
        )
        return Done(done.returncode, done.stdout, done.stderr)
