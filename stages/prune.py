"""Prune the distilled student and let it recover.

python -m stages.prune docs-embed
"""

from pipeline import stage
from stages.training import run_step


def run(model: str) -> None:
    """Write artifacts/<model>/pruned/ and the loss curve."""
    run_step(model, "prune", lambda task: task.prune, lambda paths: paths.pruned)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
