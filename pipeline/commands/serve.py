"""`bardlet serve`: Prefect's server and UI for this workspace, and the nightly build."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from pipeline import files
from pipeline.errors import InputError
from pipeline.orchestration.pages import prefect_server, web
from pipeline.orchestration.plan.request import Request

NIGHTLY = "0 2 * * *"
OFF = "off"


def serve(
    stages: Annotated[
        list[str] | None, typer.Argument(metavar="[STAGE]...", help="What a nightly run builds; default: all.")
    ] = None,
    cron: Annotated[
        str, typer.Option("--cron", metavar="CRON", help="When it runs; `off`: only when asked.")
    ] = NIGHTLY,
    timezone: Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Time zone of --cron.")] = "UTC",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Stages at once; default: one a core.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Share what a nightly run built.")] = False,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where the UI listens.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=1, max=65534, metavar="PORT", help="Port of the UI; report and cards get the next."),
    ] = 4200,
) -> None:
    """Start Prefect's UI and serve the nightly build, until Ctrl-C.

    The database lies under .prefect/ of this folder; builds that are started here report to this server. Where
    PREFECT_API_URL names a server, that one is used and none is started. BARDLET_NOTIFY may name a command that is told
    of a build that fails.
    """
    root = Path()
    if not (root / "dvc.yaml").exists():
        raise InputError("dvc.yaml is missing: run this in its folder")
    _check_timezone(timezone)
    prefect_server.set_defaults(root, os.environ)
    with ExitStack() as stack:
        stack.enter_context(_only_one(root))
        named = os.environ.get("PREFECT_API_URL")
        # Prefect reads it when it is imported.
        api = os.environ["PREFECT_API_URL"] = named or prefect_server.api_of(host, port)
        flow = import_module("pipeline.flow.serve")
        schedule = None if cron == OFF else flow.schedule(cron, timezone)
        stack.enter_context(_pages(root, host, port + 1))
        if not named:
            stack.enter_context(_server(root, host, port))
        when = "only when asked" if cron == OFF else f"at '{cron}' {timezone}"
        print(f"serve: {_ui(api)} shows the builds; `nightly` runs {when}; Ctrl-C ends it", file=sys.stderr, flush=True)
        flow.serve(schedule, Request(tuple(stages or ()), jobs, push=push))
    print("serve: ended", file=sys.stderr)


def _check_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"--timezone '{name}': no such time zone; expected a name such as Europe/Berlin") from error


@contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Hold the workspace against a second `bardlet serve`; builds are free to run."""

    def refuse(who: str) -> None:
        raise InputError(f"`bardlet serve` of this workspace runs already: {who}")

    with files.hold(root / prefect_server.HOME / "serve.lock", refuse):
        yield


@contextmanager
def _pages(root: Path, host: str, port: int) -> Iterator[None]:
    name = socket.gethostname() if host == prefect_server.ANY else host
    with ExitStack() as stack:
        try:
            stack.enter_context(web.serve(root, host, port, name))
        except OSError as error:
            raise InputError(f"--port: {host}:{port}, for report and cards, is not free ({error.strerror})") from error
        yield


@contextmanager
def _server(root: Path, host: str, port: int) -> Iterator[None]:
    """A server of this workspace, which its builds find."""
    server = prefect_server.start_lasting(root, host, port)
    try:
        server.wait()
        prefect_server.note_of(root).write_text(server.api, encoding="utf-8")
        yield
    finally:
        prefect_server.note_of(root).unlink(missing_ok=True)
        server.stop()


def _ui(api: str) -> str:
    return api.rstrip("/").removesuffix("/api")
