"""Check the teacher's checkpoint and run it over the data once, so that no change of the student runs it again.

python -m stages.teacher docs-embed
"""

from pipeline import stage, tasks
from stages.model_work import load_model, save_report, work_of


def run(model: str) -> None:
    """Write artifacts/<model>/teacher/.

    Raises:
        InputError: params.yaml is wrong or does not have the model, or no source of the teacher serves.
        IntegrityError: the teacher's weights do not have the pinned checksum.
    """
    loaded, paths = load_model(model)
    with work_of(loaded, paths, paths.teacher) as work:
        save_report(tasks.teacher(work.params.task).run_teacher(work), work)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
