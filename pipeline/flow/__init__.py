"""Shows builds in Prefect; the only package that imports it.

build.py        runs a build as a flow
tasks.py        shows each stage as a task
artifacts.py    adds tables and verdict to the page of a run
watch.py        ends a build whose run was cancelled
serve.py        serves the nightly deployment
pool.py         asks a pool for a stage and waits, on the build's side
pool_stage.py   runs a stage that a build asked for, on the worker's side
pool_worker.py  takes stages of a pool
"""
