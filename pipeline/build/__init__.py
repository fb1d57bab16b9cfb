"""Building in parallel what dvc.yaml declares; `pipeline.flow` shows it in Prefect.

Pure:
request.py    what is to be built
plan.py       what runs, what is up to date, what waits
schedule.py   which stage may start now
priority.py   which of those should start first, and how long stages took before
slots.py      cores, memory and mutex of a stage
reasons.py    why a stage runs, in words
summary.py    how a build ended, in words and as an exit code
lockfile.py   the order of dvc.lock

The build:
loop.py       start what may start, wait, go on
session.py    one build of one workspace at a time: its lock, its server, its stages
client.py     the build's end of server and supervisors
server.py     a process that has DVC imported and forks one supervisor a stage
supervise.py  a supervisor: logs, time limit, and nothing left behind
processes.py  ending process trees
worker.py     what DVC does in a process of its own: plan, reproduce one stage
repository.py DVC's repository, opened and locked
sharing/      the shared cache
pools/        stages on other machines

What Prefect shows, without Prefect:
ephemeral.py  a server for one build, or where a lasting one is
ending.py     what follows a build: history, notification
notify.py     telling someone
publish.py    tables and verdict of a run's page
pages.py      report and releases over HTTP, for the links of that page
"""
