"""Where every artifact lies: the only module that knows file names.

data/<model>/                     train.jsonl validation.jsonl heldout.jsonl retrieval.jsonl report.json
artifacts/<model>/teacher/        checkpoint/, tokenizer, its outputs on the training data, report.json
artifacts/<model>/student/        config.json model.safetensors tokenizer.json report.json
artifacts/<model>/pruned/         the same
artifacts/<model>/quantized/      the same, and calibration.safetensors; of a language model generation.json, chat.json
artifacts/<model>/export/<engine>/<variant>.{onnx,xml+bin,tflite}  and export.json
artifacts/<model>/release/        the bundle
artifacts/fleet/<model>/          verify.json: every variant against its source; inputs.safetensors of the benchmark
artifacts/host.json               fingerprint of the machine
artifacts/benchmark/              results.json, metrics.json, samples/
artifacts/gate/verdict.json       the whole fleet's; models/<model>.json holds one model's
artifacts/report/index.html
artifacts/history.jsonl           what nightly builds found
artifacts/unfinished/             what a stage that was killed goes on from
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.runtime.engines import FACTS
from pipeline.runtime.engines import Engine as Engine


class Variant(StrEnum):
    """The exports of one engine: the teacher as reference, and the student as a ladder of precisions."""

    TEACHER = "teacher"
    FP32 = "fp32"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def is_student(self) -> bool:
        """Whether it holds the student's weights."""
        return self is not Variant.TEACHER

    @property
    def is_reduced(self) -> bool:
        """Whether its weights have fewer bits than they were trained with."""
        return self in (Variant.INT8, Variant.INT4)


# From the widest to the narrowest: each step must pay against the one before it.
LADDER = tuple(variant for variant in Variant if variant.is_student)
SUFFIX = {engine: facts.suffix for engine, facts in FACTS.items()}

REPORT = "report.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
PREPROCESSING = "preprocessing.json"
# Of a language model: token ids and the context; and how it writes conversations, where it does.
GENERATION = "generation.json"
CHAT = "chat.json"
CHECKPOINT = "checkpoint"
CALIBRATION = "calibration.safetensors"
# The model card of a release.
CARD = "README.md"
# What is installed; a release names it among its sources.
LOCK = "requirements.lock"


@dataclass(frozen=True)
class ModelLayout:
    """The paths of one model of the fleet."""

    root: Path
    model: str

    @property
    def _base(self) -> Path:
        return self.root / "artifacts" / self.model

    @property
    def data(self) -> Path:
        return self.root / "data" / self.model

    @property
    def teacher(self) -> Path:
        return self._base / "teacher"

    @property
    def teacher_checkpoint(self) -> Path:
        """The teacher's own files, as they were found or trained."""
        return self.teacher / CHECKPOINT

    @property
    def student(self) -> Path:
        return self._base / "student"

    @property
    def pruned(self) -> Path:
        return self._base / "pruned"

    @property
    def quantized(self) -> Path:
        return self._base / "quantized"

    def loss_curve(self, step: str) -> Path:
        return self._base / "curves" / f"{step}.csv"

    def unfinished(self, name: str) -> Path:
        """What a long stage keeps of its work, so that it goes on after a kill; removed when the stage ends."""
        return self.root / "artifacts" / "unfinished" / self.model / name

    def export(self, engine: Engine) -> Path:
        return self._base / "export" / engine

    def export_manifest(self, engine: Engine) -> Path:
        return self.export(engine) / "export.json"

    def variant(self, engine: Engine, variant: Variant) -> Path:
        """The file that an engine opens; OpenVINO keeps its weights beside it in `.bin`."""
        return self.export(engine) / f"{variant}{SUFFIX[engine]}"

    @property
    def metrics(self) -> Path:
        return self._base / "metrics.json"

    @property
    def fleet_entry(self) -> Path:
        return self.root / "artifacts" / "fleet" / self.model

    @property
    def verification(self) -> Path:
        return self.fleet_entry / "verify.json"

    @property
    def fleet_inputs(self) -> Path:
        return self.fleet_entry / "inputs.safetensors"

    @property
    def verdict(self) -> Path:
        """The gate's verdict on this model, in the form of verdict.json; the model's release depends on it."""
        return Layout(self.root).model_verdicts / f"{self.model}.json"

    @property
    def release(self) -> Path:
        return self._base / "release"


@dataclass(frozen=True)
class Layout:
    """The paths of a workspace; `root` is the folder of dvc.yaml."""

    root: Path = Path()

    def model(self, name: str) -> ModelLayout:
        return ModelLayout(self.root, name)

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def host(self) -> Path:
        return self.root / "artifacts" / "host.json"

    @property
    def results(self) -> Path:
        return self.root / "artifacts" / "benchmark" / "results.json"

    @property
    def benchmark_metrics(self) -> Path:
        return self.root / "artifacts" / "benchmark" / "metrics.json"

    @property
    def samples(self) -> Path:
        """Folder of raw samples, one `.npy` (float64 milliseconds) a measurement."""
        return self.root / "artifacts" / "benchmark" / "samples"

    @property
    def verdict(self) -> Path:
        return self.root / "artifacts" / "gate" / "verdict.json"

    @property
    def model_verdicts(self) -> Path:
        return self.verdict.parent / "models"

    @property
    def history(self) -> Path:
        return self.root / "artifacts" / "history.jsonl"

    @property
    def report(self) -> Path:
        return self.root / "artifacts" / "report" / "index.html"
