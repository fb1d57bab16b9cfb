"""Ranks stages: the one with the longest way to the end of the build starts first, by what stages took before.

List scheduling by critical path (R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969): in the order of
`dvc repro` a long stage may be left for the end, where nothing runs beside it.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import fmean

from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from pipeline.orchestration.plan.stages import Plan


def ranks(plan: Plan, took: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the start of each stage to the end of a build that has room for all.

    Args:
        plan: of the build.
        took: seconds of stages when they last ran. A stage that is not among them counts as the mean of its siblings of
            one matrix, or of all.

    Returns:
        By stage; empty where nothing is known.
    """
    if not took:
        return {}
    ways: dict[str, float] = {}
    behind: dict[str, float] = {}
    for stage in reversed(plan.stages):
        ways[stage.name] = _seconds(stage.name, took) + behind.get(stage.name, 0.0)
        for name in stage.upstream:
            behind[name] = max(behind.get(name, 0.0), ways[stage.name])
    return ways


def _seconds(name: str, took: Mapping[str, float]) -> float:
    if name in took:
        return took[name]
    siblings = [seconds for other, seconds in took.items() if _group(other) == _group(name)]
    return fmean(siblings or took.values())


def _group(name: str) -> str:
    return name.partition("@")[0]


class Durations:
    """How long stages took on this machine, kept between builds. Only the order in which stages start depends on it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, float]:
        """Seconds by stage; none where the file is missing or is not ours."""
        with suppress(OSError, ValueError, AttributeError, TypeError):
            known = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): float(seconds) for name, seconds in known.items()}
        return {}

    def note(self, results: Iterable[StageResult]) -> None:
        """Keep what stages took that were built."""
        built = {result.name: round(result.seconds, 2) for result in results if result.outcome is StageOutcome.BUILT}
        if built:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps({**self.read(), **built}, indent=1), encoding="utf-8")
            temporary.replace(self._path)
