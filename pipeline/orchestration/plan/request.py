"""What is to be built: the arguments of `bardlet build` and the parameters of a deployment."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """Arguments of a build.

    Attributes:
        targets: stages as DVC names them; none: all of dvc.yaml.
        jobs: stages at once; None: as many as there are cores.
        models: build only what belongs to these; none: all.
        force: run stages that are up to date too.
        pull: look for results in the shared cache before a stage runs.
        push: send outputs and run-cache to the shared cache after the build.
    """

    targets: tuple[str, ...] = ()
    jobs: int | None = None
    models: tuple[str, ...] = ()
    force: bool = False
    pull: bool = True
    push: bool = False
