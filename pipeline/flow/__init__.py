"""Builds in Prefect; the only package that imports it.

build.py        a build as a flow run, one task a stage
pool.py         the build's end of a stage on another machine
pool_stage.py   the worker's end of it
pool_worker.py  a worker of a pool
"""
