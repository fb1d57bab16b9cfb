"""Stages on other machines.

rules.py      what must hold before stages go there: pure
leases.py     how two machines notice that the other is gone: pure
remote_stage.py what DVC does for such a stage, on both sides
objects.py    its inputs and outputs, by the DVC remote or as files
job.py        what a worker does with a job
clone.py      the worker's own clone
run_process.py  the process that a worker starts for each run
git.py        the few things asked of Git
"""
