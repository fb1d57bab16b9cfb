"""A DVC remote as the shared cache of builds: transfers objects with their hash checked, and run-cache entries.

DVC's own functions for this hold its lock while they transfer, take the remote's word for what lies in a folder, and
pull the whole run-cache. The functions here ask for what one stage needs, with one request an object.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.orchestration.dvc_inside.object_store import open_store
from pipeline.orchestration.dvc_inside.run_cache import read_entry
from pipeline.orchestration.sharing.storage import RemoteError, describe, open_storage, show_bytes, trouble

RUNS = "runs"


class AbsentError(Exception):
    """The shared cache does not have what it should have, or something else in its place."""


@dataclass(frozen=True)
class Traffic:
    """What was transferred."""

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.files + other.files, self.size_bytes + other.size_bytes)

    def __str__(self) -> str:
        return f"{self.files} {'file' if self.files == 1 else 'files'}, {show_bytes(self.size_bytes)}"


class Remote:
    """The default remote of a repository beside the cache of this clone."""

    def __init__(self, repo: Any, name: str) -> None:
        config = repo.config["remote"].get(name)
        if config is None:
            raise RemoteError(f"core.remote names '{name}', which .dvc/config does not declare")
        fs, root, settings = open_storage(repo.config, name)
        self.name = name
        self.where = _short(root) if fs.protocol == "local" else fs.unstrip_protocol(root)
        self._fs, self._root = fs, root
        self._odb = open_store(fs, root, settings)
        self._cache = repo.cache.local

    def is_empty(self) -> bool:
        """Nothing was ever pushed here.

        Raises:
            RemoteError: it is out of reach or refuses us.
        """
        with trouble(self.where):
            try:
                return not self._fs.ls(self._root, detail=False)
            except FileNotFoundError:
                return True

    def have(self, oids: Sequence[str]) -> set[str]:
        """Those of the objects that this clone's cache has; damaged ones are removed from it."""
        return set(self._cache.oids_exist(list(oids)))

    def get(self, wanted: Mapping[str, str]) -> Traffic:
        """Bring objects into this clone's cache, unless they are there; what has another hash is refused.

        Args:
            wanted: objects, and for each the path that it belongs to.

        Raises:
            AbsentError: some are missing or damaged; the others have been brought.
            RemoteError: the cache is out of reach or refuses us.
        """
        missing = sorted(set(wanted) - self.have(list(wanted)))
        if not missing:
            return Traffic()
        errors: dict[str, BaseException] = {}
        places = [self._odb.oid_to_path(oid) for oid in missing]
        try:
            self._cache.add(
                places, self._fs, missing, verify=True, check_exists=False, on_error=errors.__setitem__, hardlink=False
            )
        except Exception as error:
            # With one object alone DVC stumbles over its temporary file after it has reported the error.
            if not errors:
                raise RemoteError(f"{self.where}: {describe(error)}") from error
        came = self.have(missing)
        self._complain([oid for oid in missing if oid not in came], errors, wanted)
        return Traffic(len(came), self._bytes(came))

    def _bytes(self, oids: Iterable[str]) -> int:
        return sum(Path(self._cache.oid_to_path(oid)).stat().st_size for oid in oids)

    def _complain(self, absent: Sequence[str], errors: Mapping[str, BaseException], wanted: Mapping[str, str]) -> None:
        real = [errors[oid] for oid in absent if oid in errors and not isinstance(errors[oid], FileNotFoundError)]
        if real:
            raise RemoteError(f"{self.where}: {describe(real[0])}") from real[0]
        refused = [oid for oid in absent if oid not in errors]
        if refused:
            first = refused[0]
            place = self._odb.oid_to_path(first).replace(self._root, self.where, 1)
            more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
            raise AbsentError(
                f"refused: {place} (of {wanted[first]}){more} is not what its name says: remove it there, "
                "then `bardlet build --push` where the stage is built"
            )
        if absent:
            paths = sorted({wanted[oid] for oid in absent})
            raise AbsentError(f"{self.where} lacks {len(absent)} of {len(wanted)} objects of {', '.join(paths)}")

    def put(self, oids: Sequence[str]) -> Traffic:
        """Send objects of this clone's cache that are not there; folders' lists come after what they list.

        Raises:
            RemoteError: at least one did not arrive.
        """
        with trouble(self.where):
            present = set(self._odb.oids_exist(list(oids)))
        missing = sorted(set(oids) - present, key=lambda oid: (oid.endswith(".dir"), oid))
        for batch in ([oid for oid in missing if oid.endswith(".dir") is folder] for folder in (False, True)):
            errors: dict[str, BaseException] = {}
            with trouble(self.where):
                places = [self._cache.oid_to_path(oid) for oid in batch]
                if batch:
                    self._odb.add(
                        places, self._cache.fs, batch, verify=False, check_exists=False, on_error=errors.__setitem__
                    )
            for error in errors.values():
                raise RemoteError(f"{self.where}: {describe(error)}") from error
        return Traffic(len(missing), self._bytes(missing))

    def entries(self, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Entries of the run-cache that answer `key`, with their names; damaged ones are passed over.

        Raises:
            RemoteError: it is out of reach or refuses us.
        """
        folder = self._fs.join(self._root, RUNS, key[:2], key)
        with trouble(self.where):
            try:
                paths = sorted(self._fs.find(folder))
            except FileNotFoundError:
                return
        for path in paths:
            with trouble(self.where), self._fs.open(path, "rb") as stream:
                text = stream.read()
            entry = read_entry(key, self._fs.name(path), text)
            if entry is not None:
                yield self._fs.name(path), entry

    def put_entry(self, key: str, name: str, path: Path) -> bool:
        """Send the entry of the run-cache at `path`; False if it is there.

        Raises:
            RemoteError: it did not arrive.
        """
        there = self._fs.join(self._root, RUNS, key[:2], key, name)
        with trouble(self.where):
            if self._fs.exists(there):
                return False
            self._fs.put_file(str(path), there)
        return True


def _short(path: str) -> str:
    home = Path.home()
    return f"~/{Path(path).relative_to(home)}" if Path(path).is_relative_to(home) else path


def default_remote(repo: Any) -> Remote | None:
    """The remote that `core.remote` names, or None where nothing is configured.

    Raises:
        RemoteError: its settings cannot be used.
    """
    name = repo.config["core"].get("remote")
    return Remote(repo, name) if name else None
