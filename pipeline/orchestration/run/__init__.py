"""Runs a build: locks the workspace, starts stages as processes, and ends them with the build.

workspace.py   one build of a workspace at a time
loop.py        starts each stage that may start, until all have ended
client.py      talks to the server
server.py      a process that has DVC imported and forks a supervisor for each job
supervise.py   the supervisor: runs a job in a child process and leaves nothing behind
dvc_job.py     the job: what DVC does in that child
"""
