"""Runs stages on other machines: a build asks a pool, and a worker of the pool runs the stage.

rules.py         checks what must hold before a stage goes to another machine
leases.py        lets two machines notice that the other is gone
remote_stage.py  does DVC's part for such a stage, on both sides
transfer.py      moves its inputs and outputs, through the DVC remote or as contents of files
remote_build.py  builds one stage on a worker
clone.py         keeps the worker's own clone
run_process.py   runs in the process that a worker starts for each stage
git.py           asks Git
"""
