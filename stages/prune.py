"""Prune the student and let it recover; with `prune: none` it stays as it is.

python -m stages.prune docs-embed
"""

from pipeline import stage, tasks
from stages import misses
from stages.model_work import load_model, save_report, work_of, write_curve


def run(model: str) -> None:
    """Write artifacts/<model>/pruned/ and the loss curve.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
        IntegrityError: what an earlier stage left is damaged.
        StageError: the loss became NaN or infinite.
    """
    loaded, paths = load_model(model)
    with work_of(loaded, paths, paths.pruned) as work:
        step = tasks.training(work.params.task).prune(work)
        save_report(step, work)
    write_curve(paths.loss_curve("prune"), step.losses)
    misses.after_prune(loaded, model, step.report)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
