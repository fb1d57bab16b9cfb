"""Building in parallel what dvc.yaml declares; `pipeline.flow` shows it in Prefect.

plan.py       what runs, what is up to date, what waits: pure
schedule.py   which stage may start now: pure
priority.py   which of those should start first: pure, and what stages took before
slots.py      cores, memory and mutex of a stage: pure
reasons.py    why a stage runs, in words: pure
summary.py    how a build ended, in words and as an exit code: pure
lockfile.py   the order of dvc.lock: pure
repository.py DVC's repository, opened and locked
sharing.py    the shared cache, as the build sees it
sharing_stages.py, sharing_remote.py, sharing_storage.py   the shared cache, as a worker uses it
pools.py      what must hold before stages go to other machines: pure
leases.py     how two machines notice that the other is gone: pure
remote.py, remote_objects.py   what DVC does for a stage on another machine, on both sides
remote_build.py, remote_clone.py, remote_engine.py   what a worker of a pool does with a job
git.py        the few things asked of Git
worker.py     what DVC does in a process of its own: plan, reproduce one stage
server.py     a process that has DVC imported and forks one supervisor a stage
supervise.py  a supervisor: logs, time limit, and nothing left behind
client.py     the build's end of server and supervisors
"""
