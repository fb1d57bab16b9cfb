"""Opening a release and running it.

release = Release.open("artifacts/docs-embed/release")
release.encode(["parse a date", "read a CSV file"])   # float32 [2, 384], rows of unit length
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pipeline.runtime.errors import EngineError, RuntimeInputError, TamperedError
from pipeline.runtime.manifest import Manifest, check_files, read_manifest
from pipeline.runtime.session import ENGINES, Session, open_session

EMBEDDING_TASK = "sentence-embedding"
_IMPORT_NAMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}


@dataclass(frozen=True)
class Hit:
    """One line of a corpus found for a text; `score` is the cosine, `index` counts the corpus from 0."""

    rank: int
    score: float
    index: int


class Release:
    """A checked release, loaded on one engine."""

    def __init__(self, manifest: Manifest, engine: str, tokenizer: Tokenizer, session: Session) -> None:
        """Take parts that are ready; `Release.open` makes them."""
        self.manifest = manifest
        self.engine = engine
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def open(cls, path: str | Path, engine: str | None = None, threads: int | None = None) -> "Release":
        """Check the files that will be used against the manifest, then load them.

        Args:
            path: the folder of the release.
            engine: which engine to run on; `None` takes the first of the manifest that is installed.
            threads: threads of one run; `None` takes every core that this process may use.

        Raises:
            RuntimeInputError: no release there, or it does not have that engine.
            TamperedError: a file is not what the manifest says; nothing was loaded.
            EngineError: the engine is not installed, or refuses the model.
        """
        return cls.load(read_manifest(Path(path)), engine, threads)

    @classmethod
    def load(cls, manifest: Manifest, engine: str | None = None, threads: int | None = None) -> "Release":
        """Open a release whose manifest is read already; see `open`."""
        engine = _choose(manifest, engine)
        entry = manifest.engines[engine]
        check_files(manifest, [manifest.tokenizer, *entry.files])
        tokenizer = _open_tokenizer(manifest)
        return cls(manifest, engine, tokenizer, open_session(engine, manifest.path(entry.model), threads))

    @property
    def dim(self) -> int:
        """Features of one embedding."""
        return self.manifest.dim

    def token_ids(self, text: str) -> list[int]:
        """The tokens of `text` with the special ones, cut at the manifest's `max_tokens`."""
        return list(self._tokenizer.encode(_checked(text)).ids)

    def encode(
        self, texts: Sequence[str], *, batch: int = 1, on_progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: any number of texts; a long one is cut at the manifest's `max_tokens`.
            batch: texts of one run, which must have the same number of tokens to share one. With 1 an embedding
                never depends on its neighbours; with more, dynamic int8 scales are taken over the whole run.
            on_progress: called after each run with the number of texts that are done.

        Returns:
            float32 [len(texts), dim], rows of unit length, in the order of `texts`.

        Raises:
            RuntimeInputError: `texts` is one text and no sequence, or an element is no valid text.
            EngineError: the engine returned a wrong shape, or NaN.
        """
        if isinstance(texts, str):
            raise RuntimeInputError("encode takes a list of texts: write encode([text])")
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch([_checked(text) for text in texts])]
        if empty := [text for text, ids in zip(texts, tokens, strict=True) if not ids]:
            raise RuntimeInputError(f"the tokenizer makes no token of {empty[0]!r:.80}: there is nothing to embed")
        embeddings = np.empty((len(texts), self.dim), np.float32)
        done = 0
        for rows in _batches([len(ids) for ids in tokens], batch):
            embeddings[rows] = self._run(np.array([tokens[row] for row in rows], np.int32))
            done += len(rows)
            if on_progress:
                on_progress(done)
        return embeddings

    def rank(self, texts: Sequence[str], corpus: Sequence[str] | NDArray[np.float32], top: int = 5) -> list[list[Hit]]:
        """For each text, the `top` entries of the corpus by cosine, best first; equals keep the corpus's order.

        Args:
            texts: the queries.
            corpus: texts, or their embeddings as `encode` returned them.
            top: hits of each text; fewer where the corpus is smaller.
        """
        rows = corpus if isinstance(corpus, np.ndarray) else self.encode(corpus)
        scores = self.encode(texts) @ rows.T
        return [_best(row, top) for row in scores]

    def _run(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        output = self._session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
        expected = (len(ids), self.dim)
        if output.shape != expected:
            raise EngineError(f"{self.engine} returned shape {output.shape}, expected {expected} as in the manifest")
        if not np.isfinite(output).all():
            raise EngineError(f"{self.engine} returned NaN or infinity for {len(ids)} texts of {ids.shape[1]} tokens")
        return output


def _choose(manifest: Manifest, engine: str | None) -> str:
    has = ", ".join(manifest.engines)
    if manifest.task != EMBEDDING_TASK:
        raise RuntimeInputError(f"{manifest.folder} is for {manifest.task}; this runtime knows {EMBEDDING_TASK}")
    if engine is not None:
        if engine not in manifest.engines:
            raise RuntimeInputError(f"{manifest.folder} has no engine {engine!r}: choose one of {has}")
        return engine
    for name in manifest.engines:
        if name in _IMPORT_NAMES and find_spec(_IMPORT_NAMES[name]):
            return name
    packages = ", ".join(ENGINES.get(name, name) for name in manifest.engines)
    raise EngineError(f"{manifest.folder} runs on {has}, and none is installed: pip install one of {packages}")


def _open_tokenizer(manifest: Manifest) -> Tokenizer:
    path = manifest.path(manifest.tokenizer)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise TamperedError(f"{path} is no tokenizer ({error}): fetch the release again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.max_tokens)
    return tokenizer


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise RuntimeInputError(f"a text must be a str, and {text!r:.80} is {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RuntimeInputError(f"{text!r:.80} is not valid Unicode: {error}") from None
    return text


def _batches(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Rows of equal length together, at most `batch`: no padding, which would reach int8 scales too."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    start = 0
    for end in range(1, len(order) + 1):
        ends = end == len(order) or lengths[order[end]] != lengths[order[start]]
        if ends or end - start == batch:
            yield order[start:end]
            start = end


def _best(scores: NDArray[np.float32], top: int) -> list[Hit]:
    order = np.argsort(-scores, kind="stable")[:top]
    return [Hit(rank, float(scores[index]), int(index)) for rank, index in enumerate(order, start=1)]
