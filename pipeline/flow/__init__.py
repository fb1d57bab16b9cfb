"""Builds in Prefect; the only package that imports it.

build.py      a build as a flow run
tasks.py      one task a stage
page.py       what the run's page shows of the result
watch.py      ends a build whose run was cancelled
serve.py      the nightly deployment
pool.py       the build's end of a stage on another machine
pool_stage.py the worker's end of it
pool_worker.py a worker of a pool
"""
