"""Make the pruned student's weights survive int8, and leave a calibration set.

python -m stages.quantize docs-embed
"""

import time

from pipeline import stage
from pipeline.files import new_folder, write_json
from pipeline.layout import REPORT, Layout
from pipeline.params_file import load_params
from pipeline.progress import note
from pipeline.tasks import task


def run(model: str) -> None:
    """Write artifacts/<model>/quantized/."""
    layout = Layout()
    params = load_params(layout.params).params
    paths = layout.model(model)
    started = time.monotonic()
    with new_folder(paths.quantized) as out:
        report = task(params.models[model].task).quantize(params.models[model], params.seed, paths, out)
        write_json(out / REPORT, {**report, "seconds": time.monotonic() - started})
    for warning in report.get("warnings", ()):
        note(f"warning: {warning}")


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
