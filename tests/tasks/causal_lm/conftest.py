"""Two tiny language models built once, and a release of one."""

import os
import shutil

import pytest

from pipeline.layout import Layout
from stages import benchmark, gate, host, release
from tests.fleet.workspace import edit_params
from tests.tasks.causal_lm import workspace


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The workspace after `verify` of both models; do not change it."""
    root = tmp_path_factory.mktemp("language") / "workspace"
    root.mkdir()
    workspace.write(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        # One process labels: each imports torch anew, and there are few texts.
        patch.setattr(os, "cpu_count", lambda: 1)
        for model in (workspace.WHOLE, workspace.SMALL):
            workspace.build(model)
    return Layout(root)


@pytest.fixture(scope="session")
def released(built: Layout, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The workspace with the compressed teacher measured, judged and released; do not change it."""
    root = tmp_path_factory.mktemp("released") / "workspace"
    shutil.copytree(built.root, root)
    edit_params(root / "params.yaml", lambda params: params.update(fleet={workspace.WHOLE: "causal_lm"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        host.run()
        benchmark.run()
        gate.run()
        release.run(workspace.WHOLE)
    return Layout(root)
