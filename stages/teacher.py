"""Check the teacher's checkpoint and run it over the data once, so that no change of the student runs it again.

python -m stages.teacher docs-embed
"""

from pipeline import stage
from pipeline.files import new_folder, write_json
from pipeline.layout import REPORT, Layout
from pipeline.params.file import load_params
from pipeline.tasks import task


def run(model: str) -> None:
    """Write artifacts/<model>/teacher/."""
    layout = Layout()
    loaded = load_params(layout.params)
    params, paths = loaded.params.models[model], layout.model(model)
    where = f"{loaded.path}:{loaded.line(f'models.{model}.teacher')}: models.{model}.teacher"
    with new_folder(paths.teacher) as out:
        report = task(params.task).run_teacher(params, loaded.params.seed, layout.root, where, paths.data, out)
        write_json(out / REPORT, report)


if __name__ == "__main__":
    stage.main(run, ("MODEL",))
