"""Report and releases of a workspace over HTTP, read-only, so that links on a run's page open in a browser.

A page that came over HTTP cannot open a `file:` link, and Prefect's server serves no files.
"""

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt

from pipeline.orchestration.pages.prefect_server import HOME

_TYPES = {".html": "text/html", ".json": "application/json", ".md": "text/html", ".css": "text/css"}
_BINARY = "application/octet-stream"
# Pages of a build show themselves; they run nothing and fetch nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"
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
    """Serve the pages of the workspace at `root` from threads of this process; yields their address.

    Args:
        host: the interface to listen on.
        port: 0 for any that is free.
        name: of this machine, as a browser is to call it.

    Raises:
        OSError: the port is taken.
    """
    server = http.server.ThreadingHTTPServer((host, port), _handler(root.resolve()))
    found = f"http://{name}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    note_of(root).write_text(found, encoding="utf-8")
    try:
        yield found
    finally:
        note_of(root).unlink(missing_ok=True)
        server.shutdown()
        server.server_close()


def find(root: Path, path: str) -> Path | None:
    """The file that a path of an address names: below artifacts/report or artifacts/<model>/release, else None."""
    parts = PurePosixPath(unquote(path)).parts
    if parts[:2] != ("/", "artifacts") or any(part in (".", "..") or "\\" in part or "\0" in part for part in parts):
        return None
    inside = parts[2:]
    if inside[:1] != ("report",) and inside[1:2] != ("release",):
        return None
    found = root.joinpath(*parts[1:]).resolve()
    # DVC may link files to its cache; a link that leads anywhere else is not followed.
    homes = (root / "artifacts", root / ".dvc" / "cache")
    allowed = any(found.is_relative_to(home.resolve()) for home in homes)
    return found if allowed and found.is_file() else None


def _handler(root: Path) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        server_version = "bardlet"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing: the terminal is for the builds."""

        def _answer(self, with_body: bool) -> None:
            path = urlsplit(self.path).path
            found = find(root, path)
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND, "Only the report and the releases of the fleet are served here")
                return
            suffix = PurePosixPath(unquote(path)).suffix
            card = _card(found).encode() if suffix == ".md" else None
            self.send_response(HTTPStatus.OK)
            kind = _TYPES.get(suffix, _BINARY)
            self.send_header("Content-Type", kind if kind == _BINARY else f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(found.stat().st_size if card is None else len(card)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            # A browser that goes away is its own affair.
            with suppress(ConnectionError):
                if with_body and card is not None:
                    self.wfile.write(card)
                elif with_body:
                    with found.open("rb") as stream:
                        shutil.copyfileobj(stream, self.wfile)

    return Handler


def _card(path: Path) -> str:
    """A model card as HTML, without its head for machines."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _CARD.format(title=path.parent.parent.name, body=body)
