"""Network namespaces as machines of their own: only root can make them, and only Linux has them."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

PREFIX = "10.213.57"
BRIDGE = "bardlet-test"
HOST = f"{PREFIX}.1"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def refusal() -> str | None:
    """Why there can be none here."""
    if shutil.which("ip") is None:
        return "the command `ip` is missing"
    try:
        _ip("netns", "add", f"{BRIDGE}-try")
        _ip("netns", "delete", f"{BRIDGE}-try")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.decode().strip()}"
    return None


@contextlib.contextmanager
def machines(names: list[str]) -> Iterator[dict[str, list[str]]]:
    """Namespaces that reach this machine at `HOST` and nothing else; yields what a command in each starts with."""
    made: list[tuple[str, ...]] = []
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        made.append(("link", "delete", BRIDGE))
        _ip("address", "add", f"{HOST}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        before = {}
        for index, name in enumerate(names):
            namespace, cable = f"{BRIDGE}-{name}", f"bardlet-{index}"
            _ip("netns", "add", namespace)
            made.append(("netns", "delete", namespace))
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("link", "set", cable, "master", BRIDGE, "up")
            for words in (
                ("address", "add", f"{PREFIX}.{index + 10}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", namespace, *words)
            before[name] = ["ip", "netns", "exec", namespace]
        yield before
    finally:
        for words in reversed(made):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*words)


def pull_cable(names: list[str], name: str) -> None:
    """From now on this machine hears and says nothing."""
    _ip("link", "set", f"bardlet-{names.index(name)}", "down")
