"""`bardlet worker`: run stages of a pool on this machine, for builds elsewhere."""

import os
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from pipeline.orchestration.pages import prefect_server
from pipeline.orchestration.pools import clone, git
from pipeline.orchestration.pools.remote_build import Place

POOLS = prefect_server.HOME / "pools"
_DEFAULTS = {"PREFECT_WORKER_QUERY_SECONDS": "2"}


def worker(
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="As `meta.pool` of stages in dvc.yaml names it.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="The worker's clone; default: .prefect/pools/NAME.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of this worker; default: the machine's.")] = None,
    repository: Annotated[
        str | None,
        typer.Option("--repository", metavar="URL", help="Where to fetch commits from; default: origin of this clone."),
    ] = None,
) -> int:
    """Run stages of a pool on this machine, until Ctrl-C.

    Each stage is built in a clone of the worker's own, at the commit of the build that asks for it: inputs are pulled
    from the DVC remote, outputs pushed to it. PREFECT_API_URL names the Prefect server.
    """
    root = Path()
    place = Place(
        name or socket.gethostname(), folder or POOLS / pool, repository or _origin(root), root / ".dvc/config.local"
    )
    prefect_server.set_defaults(root, os.environ)
    api = prefect_server.lasting_server(root)
    if api is None:
        raise InputError("a worker needs a Prefect server: set PREFECT_API_URL, such as http://HOST:4200/api")
    if not prefect_server.is_healthy(api):
        raise InputError(f"no Prefect server answers at {api} (PREFECT_API_URL): start it, or correct the address")
    os.environ["PREFECT_API_URL"] = api
    for setting, value in _DEFAULTS.items():
        os.environ.setdefault(setting, value)
    # Service managers send SIGTERM where a person types Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with clone.hold(place.folder):
        _tell(f"{place.name} works for pool {pool}: commits from {place.repository}, in {place.folder}, server {api}")
        import_module("pipeline.flow.pool_worker").work(pool, place, _tell)
    return 0


def _origin(root: Path) -> str:
    """Where the clone in which the worker is started came from, or else that clone itself."""
    try:
        return git.run(root, "remote", "get-url", "origin").strip()
    except InputError:
        try:
            return git.run(root, "rev-parse", "--show-toplevel").strip()
        except InputError as error:
            raise InputError("this folder is no Git clone: name the repository with --repository URL") from error


def _tell(line: str) -> None:
    print(f"worker: {line}", file=sys.stderr, flush=True)
