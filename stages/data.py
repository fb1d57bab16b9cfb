"""Collect and split the texts (or images) of a model.

python -m stages.data docs-embed
"""

from pipeline import stage, tasks
from stages.model_work import load_model, work_of


def run(model: str) -> None:
    """Write data/<model>/.

    Raises:
        InputError: params.yaml is wrong or does not have the model, or there is too little data.
    """
    loaded, paths = load_model(model)
    with work_of(loaded, paths, paths.data) as work:
        tasks.data(work.params.task).make_data(work)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
