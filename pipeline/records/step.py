"""`report.json`: what a step of compression left, and what it measured."""

from collections.abc import Mapping

from pipeline.records.base import Part, Record


class TrainingRun(Part):
    """A training run; losses are means over its first and last twentieth."""

    steps: int
    examples: int
    seconds: float
    loss_first: float
    loss_last: float


class Gain(Part):
    """One figure of cost before and after pruning, and the ratio of the two."""

    before: float
    after: float
    ratio: float


class Sensitivity(Part):
    """A group of coupled channels; see `pipeline.compress.channels.prune.GroupReport`."""

    layers: tuple[str, ...]
    channels_before: int
    channels_after: int
    sensitivity: float | None


class StepReport(Record):
    """What a step left: `teacher`, `student`, `pruned` and `quantized` have one each.

    Attributes:
        params: number of parameters; `None`, as `macs` and `size_bytes`, for a black box.
        macs: multiply-accumulates of one example, as `ModelParams.example` says.
        size_bytes: of the file of weights.
        quality: the task's measures by their keys.
        seconds: how long the step took.
        training: `None` where nothing was trained.
        gains: what pruning gained, by figure of cost.
        warnings: what did not get smaller, one sentence each.
        sensitivity_ratio: share of a group's channels that went when its sensitivity was measured.
        facts: what else the task records of the step, such as `source` and `sha256` of a teacher.
    """

    params: int | None
    macs: int | None
    size_bytes: int | None
    quality: Mapping[str, float]
    seconds: float | None = None
    training: TrainingRun | None = None
    gains: Mapping[str, Gain] = {}
    warnings: tuple[str, ...] = ()
    sensitivity_ratio: float | None = None
    sensitivity: tuple[Sensitivity, ...] = ()
    facts: Mapping[str, str | bool | int | float | None] = {}
