"""Building in parallel what dvc.yaml declares; `pipeline.flow` shows it in Prefect.

plan/     what has to be done, and in which order: pure
run/      a build: its lock, its server, its stages as processes
sharing/  the shared cache
pools/    stages on other machines
pages/    what people see of a build, without Prefect
"""
