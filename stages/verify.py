"""Compare every export with the model it came from, and judge it on the task.

python -m stages.verify docs-embed
"""

from collections.abc import Sequence

from pipeline import stage, tasks
from pipeline.engines.spec import Arrays, Case
from pipeline.files import new_folder, write_json
from pipeline.verify.model import figures, verify_model
from pipeline.weights import save_tensors
from stages import misses
from stages.model_work import load_model


def run(model: str) -> None:
    """Write artifacts/fleet/<model>/: verify.json, and the inputs that the benchmark measures with.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
        IntegrityError: what an earlier stage left is damaged.
        StageError: an export is not the file that the export stage wrote.
    """
    loaded, paths = load_model(model)
    params = loaded.params.models[model]
    cases = tasks.serving(params.task).cases(params, paths)
    verification = verify_model(model, params, paths, cases)
    with new_folder(paths.fleet_entry) as out:
        verification.write(out / paths.verification.name)
        save_tensors(benchmark_inputs(cases), out / paths.fleet_inputs.name)
    write_json(paths.metrics, figures(verification))
    misses.after_verify(loaded, model, verification)


def benchmark_inputs(cases: Sequence[Case]) -> Arrays:
    """The inputs of all cases, called `<case>.<input>`, and `<case>.before.<input>` of what runs before the clock."""
    timed = {f"{case.name}.{name}": array for case in cases for name, array in case.inputs.items()}
    before = {f"{case.name}.before.{name}": array for case in cases for name, array in (case.before or {}).items()}
    return {**timed, **before}


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
