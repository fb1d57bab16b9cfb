"""Collect and split the texts (or images) of a model.

python -m stages.data docs-embed
"""

from pipeline import stage
from pipeline.files import new_folder
from pipeline.layout import Layout
from pipeline.params.file import load_params
from pipeline.tasks import task


def run(model: str) -> None:
    """Write data/<model>/."""
    layout = Layout()
    params = load_params(layout.params).params
    with new_folder(layout.model(model).data) as out:
        task(params.models[model].task).make_data(params.models[model], params.seed, layout.root, out)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
