"""What a task must bring: data, teacher, training steps, the shapes it is served with, and how it is judged.

Each protocol here is a module of a task's folder: `pipeline/tasks/<task>/training.py` satisfies `Training` by having
its functions. The task's params.py declares what gate, report and `bardlet validate` must know without torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pipeline.engines.spec import Arrays, Case, ModelSpec
from pipeline.layout import ModelLayout
from pipeline.params.blocks import ModelParams
from pipeline.records.step import StepReport, TrainingRun
from pipeline.runtime.session import Session

if TYPE_CHECKING:
    from torch import nn

    from pipeline.compress.training import TrainReport

P = TypeVar("P", bound=ModelParams)


@dataclass(frozen=True)
class Work(Generic[P]):
    """One model in one stage: what to do, with what, and where the results go.

    Attributes:
        params: the model's block of params.yaml.
        seed: of the whole build.
        paths: where the model's artifacts lie.
        out: an empty folder, which gets its final name when the verb returns.
        where: says where a key of the model stands: `where("teacher")` is `params.yaml:41: models.x.teacher`.
        started: when the stage began, by `time.monotonic`.
    """

    params: P
    seed: int
    paths: ModelLayout
    out: Path
    where: Callable[[str], str]
    started: float

    @property
    def root(self) -> Path:
        """The workspace: the folder of dvc.yaml."""
        return self.paths.root


@dataclass(frozen=True)
class Step:
    """What a step of compression leaves beside its files.

    Attributes:
        report: the content of report.json, but for the seconds.
        losses: of each optimizer step; empty where nothing was trained.
    """

    report: StepReport
    losses: tuple[float, ...] = ()


def training_of(trained: "TrainReport") -> TrainingRun:
    """A training run as report.json records it."""
    return TrainingRun(**{name: value for name, value in asdict(trained).items() if name != "losses"})


class Data(Protocol):
    """`data.py`."""

    def make_data(self, work: Work[Any]) -> None:
        """Write what to train and to judge on into `work.out`."""


class Teacher(Protocol):
    """`teacher.py`."""

    def run_teacher(self, work: Work[Any]) -> Step:
        """Check and copy the teacher, or train it; run it over the data, and write its outputs."""


class Training(Protocol):
    """`training.py`: the steps of compression. A step that params.yaml sets to `none` hands its model on unchanged."""

    def distill(self, work: Work[Any]) -> Step:
        """Train the student, or make the teacher itself the student."""

    def prune(self, work: Work[Any]) -> Step:
        """Make the student physically smaller and let it recover."""

    def quantize(self, work: Work[Any]) -> Step:
        """Make the weights survive few bits, and leave the calibration set."""


class Serving(Protocol):
    """`serving.py`: how a model is called."""

    def load_teacher(self, paths: ModelLayout) -> "nn.Module | None":
        """The teacher as a module that can be exported; `None` for a black box."""

    def model_spec(self, params: Any, paths: ModelLayout) -> ModelSpec:
        """Inputs, output and served shapes of the student; `paths` tell sizes that the student itself decides."""

    def teacher_spec(self, params: Any, paths: ModelLayout) -> ModelSpec:
        """Inputs and output of the teacher, with only those shapes at which latency is judged."""

    def comparison_inputs(self, params: Any, paths: ModelLayout, count: int) -> Sequence[Arrays]:
        """Held-out inputs to compare an export on, one example each."""

    def cases(self, params: Any, paths: ModelLayout) -> Sequence[Case]:
        """The cases to measure, with real inputs."""


class Judging(Protocol):
    """`judging.py`: quality of whatever runs, PyTorch or an engine."""

    def evaluate(self, session: Session, params: Any, paths: ModelLayout) -> Mapping[str, float]:
        """Quality on held-out data, by the keys of `ModelParams.measures`."""

    def score(self, session: Session, params: Any, paths: ModelLayout) -> float:
        """Quality on validation data in one figure; more is better. The loss of a reduced precision is stated in it."""

    def teacher_quality(self, paths: ModelLayout) -> Mapping[str, float]:
        """The teacher's own quality, in the measures of `evaluate`."""
