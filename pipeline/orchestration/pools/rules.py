"""Checks what must hold before a build that needs other machines begins."""

from pipeline.errors import InputError, listed
from pipeline.orchestration.plan.stages import Plan, PlannedStage

_SHOWN = 5


def elsewhere(plan: Plan) -> list[PlannedStage]:
    """Stages that may have to run on a worker of a pool."""
    cached = set(plan.cached())
    return [stage for stage in plan.stages if stage.needs.pool is not None and stage.name not in cached]


def require(plan: Plan, lasting_server: bool) -> None:
    """Check that the stages that run in pools can run there.

    Args:
        plan: of the build.
        lasting_server: workers can reach the Prefect server that the build reports to. They cannot reach one that
            the build starts for itself.

    Raises:
        InputError: no such server, or changes that are not committed, so that no worker would see them.
    """
    stages = elsewhere(plan)
    if not stages:
        return
    names = ", ".join(f"{stage.name} (pool {stage.needs.pool})" for stage in stages)
    if not lasting_server:
        raise InputError(
            f"{names} must run on workers, and these need a Prefect server that lasts: start one with `bardlet serve` "
            f"or set PREFECT_API_URL, then run `bardlet worker --pool {stages[0].needs.pool}` on the "
            "machine that is to do it"
        )
    if plan.uncommitted:
        shown = ", ".join(listed(plan.uncommitted, _SHOWN))
        raise InputError(
            f"{names} must run on workers, and these build a commit: {shown} changed since; commit and push, then build"
        )
