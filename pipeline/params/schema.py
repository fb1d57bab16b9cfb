"""The whole of params.yaml: seed, fleet, tools, models by their tasks, and how the benchmark measures.

The blocks that every task has are in `pipeline.params.blocks`, those of one task in `pipeline/tasks/<task>/params.py`.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationError
from pydantic_core import InitErrorDetails

from pipeline.params import tasks
from pipeline.params.blocks import Block, ModelParams, NonNegativeInt, PositiveFloat, PositiveInt


def _by_task(value: Any) -> ModelParams:
    """Validate a model by the schema of its task."""
    if isinstance(value, ModelParams):
        return value
    if not isinstance(value, dict):
        return ModelParams.model_validate(value)  # raises
    name = value.get("task")
    if name not in tasks.names():
        expected = " or ".join(map(repr, tasks.names()))
        kind = "literal_error" if "task" in value else "missing"
        details = InitErrorDetails(type=kind, loc=("task",), input=name, ctx={"expected": expected})
        raise ValidationError.from_exception_data("ModelParams", [details])
    # Through JSON, as the whole file: pydantic's strict mode then takes lists for tuples but no text for a number.
    return tasks.params_of(name).model_validate_json(json.dumps(value), strict=True)


class BenchmarkParams(Block):
    """How the benchmark measures; see pipeline.benchmark."""

    lane_cores: PositiveInt
    blocks: PositiveInt
    warmup_runs: NonNegativeInt
    block_seconds: PositiveFloat
    max_block_runs: PositiveInt
    load_timeout_s: PositiveFloat


class Params(Block):
    """The whole of params.yaml.

    Attributes:
        fleet: the models that are built, each with its task; dvc.yaml iterates over it.
    """

    seed: NonNegativeInt
    fleet: Annotated[Mapping[str, str], Field(min_length=1)]
    toolchain: Mapping[Literal["training", "onnxruntime", "openvino", "tflite"], Mapping[str, str | int]]
    models: Mapping[str, Annotated[ModelParams, PlainValidator(_by_task)]]
    benchmark: BenchmarkParams
