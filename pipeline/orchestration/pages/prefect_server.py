"""Starts a Prefect server for as long as one build takes, and finds one that lasts.

Prefect starts such a server by itself, but only once it is imported, and leaves it running when the build is killed.
This one starts beside everything else and ends with the build, however that ends.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from pipeline import processes
from pipeline.errors import InputError, StageError

HOME = Path(".prefect")
# All interfaces: nothing that one could connect to.
ANY = "0.0.0.0"
_START_SECONDS = 120
_DIRECT = build_opener(ProxyHandler({}))


def set_defaults(root: Path, environment: MutableMapping[str, str]) -> None:
    """Keep Prefect offline and quiet, with its database in the workspace; a user's own settings win."""
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str((root / HOME).resolve()),
        # The build prints for itself; the run's page has the logs too.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_PROMPT": "false",
        # Seconds until a run that was asked for in the UI starts.
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    }
    for name, value in defaults.items():
        environment.setdefault(name, value)


def note_of(root: Path) -> Path:
    """Where `bardlet serve` writes the address of its server."""
    return root / HOME / "api-url"


def lasting_server(root: Path) -> str | None:
    """The API address that the user set, or that of a running `bardlet serve` of this workspace."""
    if address := os.environ.get("PREFECT_API_URL"):
        return address
    with suppress(OSError):
        address = note_of(root).read_text(encoding="utf-8").strip()
        if is_healthy(address):
            return address
    return None


def api_of(host: str, port: int) -> str:
    """The address of the API of a server on this machine."""
    return f"http://{'127.0.0.1' if host == ANY else host}:{port}/api"


def is_healthy(api: str) -> bool:
    """Whether a Prefect server answers at `api`."""
    try:
        with _DIRECT.open(f"{api}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError, ValueError):
        return False


@contextmanager
def server(root: Path) -> Iterator["Server"]:
    """A server to report to: a lasting one, or one that starts now in the background."""
    found = lasting_server(root)
    if found is not None:
        yield Server(found, None)
        return
    settings = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    started = _start(root, "127.0.0.1", free_port(), settings)
    try:
        yield started
    finally:
        started.stop()


class Server:
    """A Prefect server; `process` is set if it is this build's own."""

    def __init__(self, api: str, process: "subprocess.Popen[bytes] | None") -> None:
        self.api = api
        self._process = process

    @property
    def lasting(self) -> bool:
        """It was there before and stays."""
        return self._process is None

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            StageError: it ended, or takes minutes.
        """
        deadline = time.monotonic() + _START_SECONDS
        while self._process is not None and not is_healthy(self.api):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StageError("Prefect's server did not start; `prefect server start` shows why")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the build's own server; its database is written with every change."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def start_lasting(root: Path, host: str, port: int) -> Server:
    """Start a server with UI and scheduler.

    Raises:
        InputError: the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(f"--port: {host}:{port} is not free ({error.strerror}); choose another") from error
    # The address that a browser asks is that of the page it has, by whatever name it knows this machine.
    settings = {
        "PREFECT_SERVER_UI_ENABLED": "1",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "0",
    }
    return _start(root, host, port, settings)


def _start(root: Path, host: str, port: int, settings: Mapping[str, str]) -> Server:
    package = find_spec("prefect")
    assert package is not None and package.origin is not None
    (root / HOME).mkdir(exist_ok=True)
    arguments = ["--factory", "prefect.server.api.server:create_app", "--app-dir", str(Path(package.origin).parents[1])]
    arguments += ["--host", host, "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    parent = os.getpid()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *arguments],
        env={**os.environ, "PREFECT__SERVER_FINAL": "1", **settings},
        stdin=subprocess.DEVNULL,
        # Ctrl-C is for the build, which still has to say how it ended.
        start_new_session=True,
        preexec_fn=lambda: processes.die_with_parent(parent),
    )
    return Server(api_of(host, port), process)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
