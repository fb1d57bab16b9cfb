"""DVC from the inside: what its commands and `dvc.api` do not offer. No other module of the project imports DVC.

Nothing of it is a documented interface of DVC, so pyproject.toml pins its minor version, and
tests/orchestration/test_dvc_inside.py names every part that is used. With a new version of DVC, run that test first.

repository.py  the repository, opened and locked
graph.py       stages in the order of `dvc repro`, and what dvc.yaml and dvc.lock say about one
lock_file.py   entries of a dvc.lock, written and sorted
run_cache.py   entries of the run-cache: their keys, names and places
commands.py    a stage's command, and how it ended
object_store.py  objects, and the remotes that keep them
errors.py      DVC's exceptions

The other modules of `pipeline.orchestration` get DVC's own stages and outputs from here and read their attributes.
The same test names these attributes.
"""
