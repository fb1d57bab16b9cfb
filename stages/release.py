"""Bundle the chosen variant of each engine, once the gate's verdict is PASS.

    python -m stages.release docs-embed

Without a PASS it ends with 1 (a budget is missed) or 3 (inconclusive) and says which number; nothing is replaced.
"""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.params.file import load_params
from pipeline.release.bundle import write_bundle
from pipeline.runtime.manifest import MANIFEST
from pipeline.stage import main


def run(model: str, root: Path = Path()) -> Path:
    """Write `artifacts/<model>/release/` and return its path.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
        BardletError: see `pipeline.release.bundle.write_bundle`.
    """
    layout = Layout(root)
    loaded = load_params(layout.params)
    params = loaded.params.models.get(model)
    if params is None:
        known = ", ".join(loaded.params.models)
        raise InputError(f"{layout.params} has no model {model!r}: choose one of {known}")
    release = write_bundle(layout, model, params)
    for engine, entry in read_json(release / MANIFEST)["engines"].items():
        print(f"release: {model}: {engine} {entry['variant']} in {release / engine}")
    return release


if __name__ == "__main__":
    main(run, ["MODEL"])
