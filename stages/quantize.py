"""Make the pruned student's weights survive few bits, and leave a calibration set.

python -m stages.quantize docs-embed
"""

from pipeline import stage, tasks
from stages.model_work import load_model, save_report, work_of, write_curve


def run(model: str) -> None:
    """Write artifacts/<model>/quantized/ and the loss curve.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
        IntegrityError: what an earlier stage left is damaged.
        StageError: the loss became NaN or infinite.
    """
    loaded, paths = load_model(model)
    with work_of(loaded, paths, paths.quantized) as work:
        step = tasks.training(work.params.task).quantize(work)
        save_report(step, work)
    write_curve(paths.loss_curve("quantize"), step.losses)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
