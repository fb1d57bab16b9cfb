"""The whole of params.yaml: seed, fleet, tools, models by their tasks, and how the benchmark measures.

The blocks that every task has are in `pipeline.params.blocks`, those of one task in `pipeline/tasks/<task>/params.py`.
"""

import operator
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, Tag
from pydantic_core import CoreSchema

from pipeline.layout import Engine
from pipeline.params import tasks
from pipeline.params.blocks import ModelParams
from pipeline.params.choices import BY_TASK
from pipeline.params.values import Block, NonNegativeInt, PositiveFloat, PositiveInt


class _ByTask:
    """Validates a model by the schema of its task. It looks for tasks itself, because the blocks know of none."""

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = [Annotated[tasks.params_of(name), Tag(name)] for name in tasks.names()]
        return handler.generate_schema(Annotated[reduce(operator.or_, models), BY_TASK])


class BenchmarkParams(Block):
    """How the benchmark measures; see pipeline.benchmark."""

    lane_cores: PositiveInt
    blocks: PositiveInt
    warmup_runs: NonNegativeInt
    block_seconds: PositiveFloat
    max_block_runs: PositiveInt
    load_timeout_s: PositiveFloat


# Who uses the tools of a group: the stages that train, or one engine.
if TYPE_CHECKING:
    ToolGroup = str
else:
    ToolGroup = Literal["training", *(engine.value for engine in Engine)]


class Params(Block):
    """The whole of params.yaml.

    Attributes:
        fleet: the models that are built, each with its task; dvc.yaml iterates over it.
    """

    seed: NonNegativeInt
    fleet: Annotated[Mapping[str, str], Field(min_length=1)]
    toolchain: Mapping[ToolGroup, Mapping[str, str | int]]
    models: Mapping[str, Annotated[ModelParams, _ByTask()]]
    benchmark: BenchmarkParams
