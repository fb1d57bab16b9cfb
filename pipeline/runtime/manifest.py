"""Reading a release's manifest.json and checking files against it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.runtime.errors import ReleaseError, RuntimeInputError, TamperedError
from pipeline.runtime.session import Precision

MANIFEST = "manifest.json"
FORMAT = "bardlet-release"
FORMAT_VERSION = 2
# verb -> the key that names the file which says how its inputs are made ready
INPUT_FILES = {"encode": "tokenizer", "classify": "preprocessing", "generate": "tokenizer"}
# Keys of further files that a release may have.
OPTIONAL_FILES = ("chat",)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """What a file of the release must be."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class EngineEntry:
    """The variant that ships for one engine; paths are relative to the release.

    Attributes:
        model: the file that the engine opens.
        precision: what it is opened with.
    """

    variant: str
    model: str
    files: tuple[str, ...]
    precision: Precision


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json that a device needs.

    Attributes:
        verb: what the release does: a key of `INPUT_FILES`.
        task: the task that it was built for. It informs people; no code depends on it.
        input_file: says how inputs are made ready.
        optional_files: further files of that kind which this release has.
        facts: all of manifest.json; a product has its own keys there, such as `max_tokens`.
    """

    folder: Path
    model: str
    verb: str
    task: str
    input_file: str
    optional_files: tuple[str, ...]
    golden: str
    engines: Mapping[str, EngineEntry]
    files: Mapping[str, FileEntry]
    facts: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """Where a file of the release lies."""
        return self.folder / name

    def number(self, key: str) -> int:
        """A whole number among the facts.

        Raises:
            TamperedError: there is none of this name.
        """
        value = self.facts.get(key)
        if not isinstance(value, int):
            path = self.folder / MANIFEST
            raise TamperedError(f"{path} is damaged ({key} is {value!r}, no whole number): fetch the release again")
        return value

    def numbers(self, key: str) -> list[int]:
        """Whole numbers among the facts.

        Raises:
            TamperedError: there are none of this name.
        """
        value = self.facts.get(key)
        if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
            path = self.folder / MANIFEST
            raise TamperedError(f"{path} is damaged ({key} is {value!r}, no whole numbers): fetch the release again")
        return value


def read_manifest(folder: Path) -> Manifest:
    """Read `folder`/manifest.json.

    Raises:
        RuntimeInputError: `folder` is no release, or one with a verb that this runtime does not know.
        TamperedError: the manifest cannot be understood, or names a file outside of the release.
        ReleaseError: the release is of another format than this runtime reads.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RuntimeInputError(f"{folder} is no release: {path} is missing") from None
    except ValueError as error:
        raise TamperedError(f"{path} is not valid JSON ({error}): fetch the release again") from error
    try:
        return parse_manifest(folder, content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"{path} is damaged ({type(error).__name__}: {error}): fetch the release again") from error


def parse_manifest(folder: Path, content: Mapping[str, Any]) -> Manifest:
    """Make a `Manifest` of the content of manifest.json; missing or wrong fields raise the built-in exceptions."""
    if content["format"] != FORMAT:
        raise ValueError(f"format is {content['format']!r} and not {FORMAT!r}")
    if content["format_version"] != FORMAT_VERSION:
        raise ReleaseError(_other_version(folder, int(content["format_version"])))
    if (verb := content["verb"]) not in INPUT_FILES:
        *some, last = INPUT_FILES
        known = f"{', '.join(some)} and {last}"
        raise RuntimeInputError(f"{folder} is there to {verb}, and this runtime knows {known}: update Bardlet here")
    files = {_inside(name): FileEntry(str(e["sha256"]), int(e["size_bytes"])) for name, e in content["files"].items()}
    engines = {
        name: EngineEntry(entry["variant"], entry["model"], tuple(entry["files"]), Precision(**entry["precision"]))
        for name, entry in content["engines"].items()
    }
    input_file = content[INPUT_FILES[verb]]
    optional = tuple(content[key] for key in OPTIONAL_FILES if key in content)
    used = [input_file, *optional, *(name for engine in engines.values() for name in (engine.model, *engine.files))]
    if unlisted := [name for name in used if name not in files]:
        raise ValueError(f"no checksum for {', '.join(unlisted)}")
    return Manifest(
        folder=folder,
        model=content["model"],
        verb=verb,
        task=content["task"],
        input_file=input_file,
        optional_files=optional,
        golden=content["golden"],
        engines=engines,
        files=files,
        facts=content,
    )


def _other_version(folder: Path, version: int) -> str:
    found = f"{folder / MANIFEST} has format version {version}, and this runtime reads {FORMAT_VERSION}"
    if version > FORMAT_VERSION:
        return f"{found}: update Bardlet on this device"
    return f"{found}: make the release anew with this version of Bardlet, or run it with the one that made it"


def check_files(manifest: Manifest, names: Iterable[str]) -> None:
    """Compare the size and SHA-256 of files with the manifest.

    Raises:
        TamperedError: naming every file that differs or is missing.
    """
    problems = [problem for name in names if (problem := _problem(manifest, name))]
    if problems:
        raise TamperedError("\n".join([*problems, f"{manifest.folder} must not be used: fetch the release again"]))


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{name!r} lies outside of the release")
    return name


def _problem(manifest: Manifest, name: str) -> str | None:
    path, expected = manifest.path(name), manifest.files.get(name)
    if expected is None:
        return f"{path} has no checksum in the manifest"
    try:
        size = path.stat().st_size
        if size != expected.size_bytes:
            return f"{path} has {size} bytes, the manifest says {expected.size_bytes}"
        digest = _sha256(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if digest != expected.sha256:
        return f"{path} has SHA-256 {digest}, the manifest says {expected.sha256}"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
