"""Builds in Prefect; the only package that imports it.

build.py      a build as a flow run
tasks.py      one task a stage
page.py       what the run's page shows of the result
watch.py      ends a build whose run was cancelled
serve.py      the nightly deployment
"""
