"""Distil the teacher into the student; with `distill: none` the teacher itself becomes the student.

python -m stages.distill docs-embed
"""

from pipeline import stage, tasks
from stages.model_work import load_model, save_report, work_of, write_curve


def run(model: str) -> None:
    """Write artifacts/<model>/student/ and the loss curve.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
        IntegrityError: what an earlier stage left is damaged.
        StageError: the loss became NaN or infinite.
    """
    loaded, paths = load_model(model)
    with work_of(loaded, paths, paths.student) as work:
        step = tasks.training(work.params.task).distill(work)
        save_report(step, work)
    write_curve(paths.loss_curve("distill"), step.losses)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
