"""Opening a release and running it.

release = Release.open("artifacts/docs-embed/release")
release.encode(["parse a date", "read a CSV file"])   # float32 [2, 384], rows of unit length

release = Release.open("artifacts/digits-mobilenet/release")
release.classify(["seven.png"], top=2)                # [[Guess("7", 0.98), Guess("1", 0.01)]]
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime import texts as tokens_of
from pipeline.runtime.classes import Guess, guesses
from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.images import Preprocessing, as_list, prepare_all, read_preprocessing
from pipeline.runtime.manifest import Manifest, check_files, read_manifest
from pipeline.runtime.pictures import Pixels
from pipeline.runtime.session import ENGINES, Inputs, Session, open_session
from pipeline.runtime.texts import Hit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Guess", "Hit", "Release"]

_IMPORT_NAMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}


class Release:
    """A checked release, loaded on one engine; what it does is decided by the files that it holds.

    Attributes:
        manifest: the content of manifest.json.
        engine: the engine that it is loaded on.
        preprocessing: how images are prepared; `None` for a release that takes no images.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: str,
        session: Session,
        tokenizer: "Tokenizer | None" = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        """Take parts that are ready; `Release.open` makes them."""
        self.manifest = manifest
        self.engine = engine
        self.preprocessing = preprocessing
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
        check_files(manifest, [*manifest.input_files(), *entry.files])
        tokenizer = preprocessing = None
        if manifest.tokenizer is not None:
            tokenizer = tokens_of.open_tokenizer(manifest.path(manifest.tokenizer), manifest.max_tokens)
        if manifest.preprocessing is not None:
            preprocessing = read_preprocessing(manifest.path(manifest.preprocessing))
        session = open_session(engine, manifest.path(entry.model), threads)
        return cls(manifest, engine, session, tokenizer, preprocessing)

    @property
    def dim(self) -> int:
        """Features of one embedding."""
        return self.manifest.dim

    def token_ids(self, text: str) -> list[int]:
        """The tokens of `text` with the special ones, cut at the manifest's `max_tokens`."""
        return list(self._need_tokenizer().encode(tokens_of.checked(text)).ids)

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
            RuntimeInputError: the release takes no texts, `texts` is one text and no sequence, or an element is no
                valid text.
            EngineError: the engine returned a wrong shape, or NaN.
        """
        tokenizer = self._need_tokenizer()
        if isinstance(texts, str):
            raise RuntimeInputError("encode takes a list of texts: write encode([text])")
        tokens = [encoding.ids for encoding in tokenizer.encode_batch([tokens_of.checked(text) for text in texts])]
        if empty := [text for text, ids in zip(texts, tokens, strict=True) if not ids]:
            raise RuntimeInputError(f"the tokenizer makes no token of {empty[0]!r:.80}: there is nothing to embed")
        embeddings = np.empty((len(texts), self.dim), np.float32)
        done = 0
        for rows in tokens_of.batches([len(ids) for ids in tokens], batch):
            ids = np.array([tokens[row] for row in rows], np.int32)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            embeddings[rows] = self._run(inputs, (len(ids), self.dim), f"{len(ids)} texts of {ids.shape[1]} tokens")
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
        return [tokens_of.best(row, top) for row in scores]

    def classify(
        self, images: Sequence[str | Path | Pixels], top: int | None = None, *, batch: int = 1
    ) -> list[list[Guess]]:
        """For each image, its classes with their probabilities, best first; equals keep the order of the classes.

        Args:
            images: paths of PNG or JPEG files (needs Pillow), or uint8 arrays `[h, w]` (gray), `[h, w, 1]` or
                `[h, w, 3]` (red, green, blue), of any size: they are prepared as the training images were.
            top: classes of each image; `None` gives all.
            batch: images of one run.

        Raises:
            RuntimeInputError: the release takes no images, `images` is one image and no sequence, or images cannot be
                used; all of these are named.
            EngineError: Pillow is needed and not installed, or the engine returned a wrong shape, or NaN.
        """
        labels = self._need_preprocessing().labels
        return [guesses(row, labels, top) for row in self.logits(images, batch=batch)]

    def logits(self, images: Sequence[str | Path | Pixels], *, batch: int = 1) -> NDArray[np.float32]:
        """What the model says of each image before it becomes probabilities, float32 [len(images), classes]."""
        how = self._need_preprocessing()
        prepared = prepare_all(as_list(images), how)
        rows = np.empty((len(prepared), len(how.labels)), np.float32)
        for start in range(0, len(prepared), batch):
            image = prepared[start : start + batch].astype(np.float32)
            expected = (len(image), len(how.labels))
            rows[start : start + batch] = self._run({"image": image}, expected, f"images {start} and following")
        return rows

    def _run(self, inputs: Inputs, expected: tuple[int, int], what: str) -> NDArray[np.float32]:
        output = self._session.run(inputs)
        if output.shape != expected:
            raise EngineError(f"{self.engine} returned shape {output.shape}, expected {expected} as in the manifest")
        if not np.isfinite(output).all():
            raise EngineError(f"{self.engine} returned NaN or infinity for {what}")
        return output

    def _need_tokenizer(self) -> "Tokenizer":
        if self._tokenizer is None:
            raise RuntimeInputError(f"{self.manifest.folder} takes no texts; it is for {self.manifest.task}")
        return self._tokenizer

    def _need_preprocessing(self) -> Preprocessing:
        if self.preprocessing is None:
            raise RuntimeInputError(f"{self.manifest.folder} takes no images; it is for {self.manifest.task}")
        return self.preprocessing


def _choose(manifest: Manifest, engine: str | None) -> str:
    has = ", ".join(manifest.engines)
    if not manifest.input_files():
        raise RuntimeInputError(f"{manifest.folder} is for {manifest.task}; this runtime knows texts and images")
    if engine is not None:
        if engine not in manifest.engines:
            raise RuntimeInputError(f"{manifest.folder} has no engine {engine!r}: choose one of {has}")
        return engine
    for name in manifest.engines:
        if name in _IMPORT_NAMES and find_spec(_IMPORT_NAMES[name]):
            return name
    packages = ", ".join(ENGINES.get(name, name) for name in manifest.engines)
    raise EngineError(f"{manifest.folder} runs on {has}, and none is installed: pip install one of {packages}")
