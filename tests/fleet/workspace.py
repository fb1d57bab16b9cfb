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

from pipeline.files import sha256
from pipeline.layout import Engine, Layout, ModelLayout
from pipeline.text.docstrings import docstrings, python_files
from pipeline.text.texts import Passage, read_docstring

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
    "teacher": {"sources": [{"path": TEACHER}], "batch_tokens": 8192, "train_tokens": 32},
    "student": {"embedding_dim": 16, "hidden_dim": 32, "layers": 1, "heads": 2, "ffn_dim": 64, "max_tokens": 48},
    "distill": {"epochs": 1, "batch_size": 16},
    "prune": {"epochs": 0.2},
    "quantize": {"epochs": 0.2, "calibration_texts": 16},
    "export": {"lengths": [16, 32], "batch": 2},
    "verify": {"examples": 8, "teacher_examples": 4},
    "budgets": {
        "case": {"batch": 1, "length": 32, "threads": 1},
        "params": 3_000_000,
        "macs": "none",
        "quality": {"fidelity_spearman": "none", "int8_fidelity_drop": "none", "recall_at_1_kept": "none"},
        **{engine.value: {"p95_ms": 1000, "size_bytes": 4_000_000, "memory_bytes": 4_000_000_000} for engine in Engine},
    },
}
TINY["verify"]["tolerances"] = {
    variant: {"mean_cosine": 0.8, "max_abs_error": 0.5} for variant in ("teacher", "fp32", "int8")
}
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
        return self._run("-c", "import sys; from pipeline.cli import main; sys.exit(main())", *arguments)

    def start(self, stage: str) -> "subprocess.Popen[bytes]":
        """A stage of the model that runs in the background."""
        command = [sys.executable, "-m", f"stages.{stage}", MODEL]
        return subprocess.Popen(command, cwd=self.root, env=environment(), stderr=subprocess.DEVNULL)

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
            env=environment(),
            capture_output=True,
            text=True,
            timeout=900,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def environment() -> dict[str, str]:
    """What the commands see: `python` is the one that runs the tests, and git and DVC know no other user."""
    # As on a user's machine, where byte code lies beside the sources that stages depend on.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "tester",
        "GIT_AUTHOR_EMAIL": "tester@localhost",
        "GIT_COMMITTER_NAME": "tester",
        "GIT_COMMITTER_EMAIL": "tester@localhost",
    }


def edit_params(path: Path, change: Callable[[Any], None]) -> None:
    """Load a params.yaml, change it and write it back with its comments."""
    yaml = YAML()
    params = yaml.load(path.read_text(encoding="utf-8"))
    change(params)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


def write(root: Path, tiny_teacher: Callable[[Path], str]) -> Fleet:
    """Write everything that a checkout holds, as a git and DVC repository with one commit."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("pipeline", "stages"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for name in (
        "dvc.yaml",
        "params.yaml",
        "requirements.lock",
        "data/corpus.lock",
        ".dvcignore",
        ".gitignore",
        "data/raw/README.md",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for name in (".dvc/config", ".dvc/.gitignore"):
        (root / ".dvc").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    # Not the shared cache of whoever runs the tests.
    (root / ".dvc/config.local").write_text("['remote \"shared\"']\n    url = ../../shared\n", encoding="utf-8")
    tiny_teacher(root / TEACHER)
    write_texts(root / "data" / "raw")
    edit_params(root / "params.yaml", lambda params: shrink(params, sha256(root / TEACHER / "model.safetensors")))
    git(root, "init", "--quiet")
    commit(root)
    return Fleet(root)


def shrink(params: Any, teacher_sha256: str) -> None:
    """Make the shipped params.yaml that of the tiny fleet."""
    params["fleet"] = {MODEL: "sentence_embedding"}
    for other in [name for name in params["models"] if name != MODEL]:
        del params["models"][other]
    for block, values in TINY.items():
        params["models"][MODEL][block].update(values)
    params["models"][MODEL]["teacher"]["sha256"] = teacher_sha256
    params["benchmark"].update(BENCHMARK)


def write_texts(folder: Path) -> None:
    """Real English: paragraphs of SciPy's docstrings, neighbours in the same file."""
    paragraphs = [paragraph for paragraph, _ in zip(_paragraphs(), range(PARAGRAPHS), strict=False)]
    size = PARAGRAPHS // TEXT_FILES
    for index in range(TEXT_FILES):
        mine = paragraphs[index * size : (index + 1) * size]
        (folder / f"part{index}.txt").write_text("\n\n".join(mine) + "\n", encoding="utf-8")


def _paragraphs() -> Iterator[str]:
    seen: set[Passage] = set()
    for path in python_files("scipy", metadata.version("scipy"), ROOT / "data/corpus.lock"):
        for text in docstrings(path.read_text(encoding="utf-8")):
            document = read_docstring("scipy", text)
            if document and document.passage and document.passage not in seen:
                seen.add(document.passage)
                yield f"{document.passage.summary} {document.passage.body}"


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "the fleet")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, env=environment(), check=True, capture_output=True)


def copy(fleet: Fleet, root: Path) -> Fleet:
    """A workspace of its own for a test that changes it."""
    shutil.copytree(fleet.root, root, symlinks=True)
    return Fleet(root)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
