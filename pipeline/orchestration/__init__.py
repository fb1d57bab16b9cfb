"""Builds in parallel what dvc.yaml declares; `pipeline.flow` shows it in Prefect.

plan/        decides what has to be done, and in which order; starts no process
run/         runs a build: locks the workspace, starts stages as processes, ends them with the build
sharing/     restores stages from the shared cache and pushes them to it
pools/       runs stages on other machines
pages/       shows a build to people, without Prefect
dvc_inside/  asks DVC what its commands do not tell; the only importer of DVC

A word has one meaning here. A *job* is one request to DVC, done in a *child* process that a *supervisor* watches. A
*worker* is `bardlet worker` on another machine, which runs stages of a *pool*.
"""
