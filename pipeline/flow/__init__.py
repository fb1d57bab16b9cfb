"""Builds in Prefect; the only package that imports it.

build.py      a build as a flow run, one task a stage
"""
