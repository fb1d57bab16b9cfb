"""`bardlet serve`: Prefect's server and UI for this workspace, and the nightly build."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from pipeline.build import ephemeral
from pipeline.build.request import Request
from pipeline.errors import InputError

NIGHTLY = "0 2 * * *"
OFF = "off"


def serve(
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="What a nightly run builds; default: all.")
    ] = None,
    cron: Annotated[
        str, typer.Option("--cron", metavar="CRON", help="When it runs; `off`: only when asked.")
    ] = NIGHTLY,
    timezone: Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of --cron.")] = "UTC",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Stages at once; default: one a core.")
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where the UI listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="Where the UI listens.")] = 4200,
) -> None:
    """Start Prefect's UI and serve the nightly build, until Ctrl-C.

    The database lies under .prefect/ of this folder; builds that are started here report to this server. Where
    PREFECT_API_URL names a server, that one is used and none is started. With BARDLET_NOTIFY set to a command, a build
    that fails tells it.
    """
    root = Path()
    if not (root / "dvc.yaml").exists():
        raise InputError("dvc.yaml is missing: run this in its folder")
    ephemeral.set_defaults(root, os.environ)
    found = ephemeral.lasting_server(root)
    if found is not None and "PREFECT_API_URL" not in os.environ:
        raise InputError(f"`bardlet serve` of this workspace runs already: {found}")
    server = ephemeral.Server(found, None) if found else ephemeral.start_lasting(root, host, port)
    try:
        os.environ["PREFECT_API_URL"] = server.api
        flow = import_module("pipeline.flow")
        server.wait()
        when = "only when asked" if cron == OFF else f"at '{cron}' {timezone}"
        print(f"serve: {server.api.removesuffix('/api')} shows the builds; `nightly` runs {when}", file=sys.stderr)
        flow.serve(None if cron == OFF else cron, timezone, Request(tuple(stages or ()), jobs))
    finally:
        server.stop()
        if not server.lasting:
            ephemeral.note_of(root).unlink(missing_ok=True)
