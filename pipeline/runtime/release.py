"""Opening a release and running it.

release = Release.open("artifacts/docs-embed/release")
release.encode(["parse a date", "read a CSV file"])   # float32 [2, 384], rows of unit length

release = Release.open("artifacts/digits-mobilenet/release")
release.classify(["seven.png"], top=2)                # [[Guess("7", 0.98), Guess("1", 0.01)]]
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.classes import Guess
from pipeline.runtime.classify import Classifier
from pipeline.runtime.embed import Embedder
from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.manifest import Manifest, check_files, read_manifest
from pipeline.runtime.pictures import Pixels
from pipeline.runtime.product import Product
from pipeline.runtime.session import ENGINES, Session, open_session
from pipeline.runtime.texts import Hit

__all__ = ["Guess", "Hit", "Release"]

_OPEN: Mapping[str, Callable[[Manifest, str, Session], Product]] = {
    "encode": Embedder.open,
    "classify": Classifier.open,
}


class Release:
    """A checked release, loaded on one engine; the verb in its manifest decides what it does.

    Attributes:
        manifest: the content of manifest.json.
        engine: the engine that it is loaded on.
        product: does what the verb says; the methods here are its public face.
    """

    def __init__(self, manifest: Manifest, engine: str, product: Product) -> None:
        """Take parts that are ready; `Release.open` makes them."""
        self.manifest = manifest
        self.engine = engine
        self.product = product

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
        check_files(manifest, [manifest.input_file, *entry.files])
        session = open_session(engine, manifest.path(entry.model), threads, entry.precision)
        return cls(manifest, engine, _OPEN[manifest.verb](manifest, engine, session))

    @property
    def dim(self) -> int:
        """Features of one embedding."""
        return self._embedder().dim

    def token_ids(self, text: str) -> list[int]:
        """The tokens of `text` with the special ones, cut at the manifest's `max_tokens`."""
        return self._embedder().token_ids(text)

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
            RuntimeInputError: the release does not encode texts, `texts` is one text and no sequence, or an element
                is no valid text.
            EngineError: the engine returned a wrong shape, or NaN.
        """
        return self._embedder().encode(texts, batch, on_progress)

    def rank(self, texts: Sequence[str], corpus: Sequence[str] | NDArray[np.float32], top: int = 5) -> list[list[Hit]]:
        """For each text, the `top` entries of the corpus by cosine, best first; ties keep the corpus's order.

        Args:
            texts: the queries.
            corpus: texts, or their embeddings as `encode` returned them.
            top: hits of each text; fewer where the corpus is smaller.
        """
        return self._embedder().rank(texts, corpus, top)

    def classify(
        self, images: Sequence[str | Path | Pixels], top: int | None = None, *, batch: int = 1
    ) -> list[list[Guess]]:
        """For each image, its classes with their probabilities, best first; ties keep the order of the classes.

        Args:
            images: paths of PNG or JPEG files (needs Pillow), or uint8 arrays `[h, w]` (gray), `[h, w, 1]` or
                `[h, w, 3]` (red, green, blue), of any size: they are prepared as the training images were.
            top: classes of each image; `None` gives all.
            batch: images of one run.

        Raises:
            RuntimeInputError: the release does not classify images, `images` is one image and no sequence, or images
                cannot be used; all of these are named.
            EngineError: Pillow is needed and not installed, or the engine returned a wrong shape, or NaN.
        """
        return self._classifier().classify(images, top, batch)

    def logits(self, images: Sequence[str | Path | Pixels], *, batch: int = 1) -> NDArray[np.float32]:
        """The model's output for each image before softmax, float32 [len(images), classes]."""
        return self._classifier().logits(images, batch)

    def _embedder(self) -> Embedder:
        if not isinstance(self.product, Embedder):
            raise RuntimeInputError(self._refusal("encode texts"))
        return self.product

    def _classifier(self) -> Classifier:
        if not isinstance(self.product, Classifier):
            raise RuntimeInputError(self._refusal("classify images"))
        return self.product

    def _refusal(self, asked: str) -> str:
        return f"{self.manifest.folder} does not {asked}: it is there to {self.manifest.verb} ({self.manifest.task})"


def _choose(manifest: Manifest, engine: str | None) -> str:
    has = ", ".join(manifest.engines)
    if engine is not None:
        if engine not in manifest.engines:
            raise RuntimeInputError(f"{manifest.folder} has no engine {engine!r}: choose one of {has}")
        return engine
    for name in manifest.engines:
        if name in ENGINES and find_spec(ENGINES[name].replace("-", "_")):
            return name
    packages = ", ".join(ENGINES.get(name, name) for name in manifest.engines)
    raise EngineError(f"{manifest.folder} runs on {has}, and none is installed: pip install one of {packages}")
