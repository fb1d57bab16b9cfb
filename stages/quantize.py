"""Make the pruned student's weights survive int8, and leave a calibration set.

python -m stages.quantize docs-embed
"""

from pipeline import stage
from stages.training import run_step


def run(model: str) -> None:
    """Write artifacts/<model>/quantized/ and the loss curve."""
    run_step(model, "quantize", lambda task: task.quantize, lambda paths: paths.quantized)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
