"""Report and releases of a workspace over HTTP, read-only, so that links on a run's page open in a browser.

A page that came over HTTP cannot open a `file:` link, and Prefect's server serves no files. Starlette's `StaticFiles`
answers: ranges, HEAD and paths that lead out of the folder are its job. This module says which files are shown.
"""

import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import uvicorn
from markdown_it import MarkdownIt
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from pipeline.orchestration.pages.prefect_server import ANY, HOME

LOOPBACK = ("127.0.0.1", "localhost")
_HEADERS = {
    # Pages of a build show themselves; they run nothing and fetch nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_END_SECONDS = 2
_CARD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #ccc; padding: .25rem .6rem; }}
pre {{ background: #f4f4f4; padding: .8rem; overflow-x: auto; }}
</style></head><body>{body}</body></html>
"""


def note_of(root: Path) -> Path:
    """Where the address of the pages is written while they are served."""
    return root / HOME / "pages-url"


def address(root: Path) -> str | None:
    """Where the pages of the workspace are served now, or None."""
    with suppress(OSError):
        return note_of(root).read_text(encoding="utf-8").strip() or None
    return None


@contextmanager
def serve(root: Path, host: str, port: int, name: str) -> Iterator[str]:
    """Serve the pages of the workspace at `root` from a thread of this process; yields their address.

    Args:
        host: the interface to listen on.
        port: 0 for any that is free.
        name: of this machine, as a browser is to call it. Requests may also use the addresses of `host` and of the
            loopback interface. Other names are refused, because a foreign page could have its own name lead here.

    Raises:
        OSError: the port is taken.
    """
    with socket.create_server((host, port)) as listening:
        found = f"http://{name}:{listening.getsockname()[1]}"
        pages = application(root, {name, *_addresses(host), *LOOPBACK})
        settings = uvicorn.Config(
            pages,
            # The terminal is for the builds.
            log_level="critical",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_END_SECONDS,
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        note_of(root).write_text(found, encoding="utf-8")
        try:
            yield found
        finally:
            note_of(root).unlink(missing_ok=True)
            server.should_exit = True
            thread.join()


def _addresses(host: str) -> set[str]:
    if host != ANY:
        return {host}
    interfaces = psutil.net_if_addrs().values()
    return {entry.address for entries in interfaces for entry in entries if entry.family == socket.AF_INET}


def application(root: Path, hosts: Collection[str]) -> Starlette:
    """What answers requests.

    Args:
        root: the workspace.
        hosts: names of this machine that a request may call it by.
    """
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts), www_redirect=False)
    return Starlette(routes=[Mount("/", app=_Pages(root.resolve()))], middleware=[trusted])


class _Pages(StaticFiles):
    """Files below artifacts/report and artifacts/<model>/release; a model card as HTML."""

    def __init__(self, root: Path) -> None:
        super().__init__(directory=root, follow_symlink=True)
        self._root = root

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        found, status = super().lookup_path(path)
        return (found, status) if status is not None and self._is_shown(Path(found)) else ("", None)

    def _is_shown(self, path: Path) -> bool:
        parts = path.relative_to(self._root).parts
        if parts[:2] != ("artifacts", "report") and (parts[:1] != ("artifacts",) or parts[2:3] != ("release",)):
            return False
        # DVC may link to its cache; a link that leads anywhere else is not followed.
        homes = (self._root / "artifacts", self._root / ".dvc" / "cache")
        return any(path.resolve().is_relative_to(home.resolve()) for home in homes)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        path = Path(full_path)
        if path.suffix == ".md":
            return HTMLResponse(_card(path), headers=_HEADERS)
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


def _card(path: Path) -> str:
    """A model card as HTML, without its head for machines."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _CARD.format(title=path.parent.parent.name, body=body)
