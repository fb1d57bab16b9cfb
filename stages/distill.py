"""Distil the teacher into the student.

python -m stages.distill docs-embed
"""

from pipeline import stage
from stages.training import run_step


def run(model: str) -> None:
    """Write artifacts/<model>/student/ and the loss curve."""
    run_step(model, "distill", lambda task: task.distill, lambda paths: paths.student)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
