"""Compare every export with the model it came from, and judge it on the task.

python -m stages.verify docs-embed
"""

from pipeline import stage
from pipeline.files import new_folder, write_json
from pipeline.layout import Layout
from pipeline.params.file import load_params
from pipeline.tasks import task
from pipeline.verify.model import figures, verify_model
from pipeline.weights import save_tensors


def run(model: str) -> None:
    """Write artifacts/<model>/verify.json and what the benchmark needs to artifacts/fleet/<model>/."""
    layout = Layout()
    params = load_params(layout.params).params.models[model]
    paths = layout.model(model)
    report = verify_model(model, params, paths)
    with new_folder(paths.fleet_entry) as out:
        write_json(out / paths.fleet_variants.name, report)
        inputs = {
            f"{c.name}.{name}": array
            for c in task(params.task).cases(params, paths)
            for name, array in c.inputs.items()
        }
        save_tensors(inputs, out / paths.fleet_inputs.name)
    write_json(paths.metrics, figures(report))
    write_json(paths.verify, report)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
