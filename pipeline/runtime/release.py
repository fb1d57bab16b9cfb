"""Opening a release and running it.

release = Release.open("artifacts/docs-embed/release")
release.encode(["parse a date", "read a CSV file"])   # float32 [2, 384], rows of unit length

release = Release.open("artifacts/digits-mobilenet/release")
release.classify(["seven.png"], top=2)                # [[Guess("7", 0.98), Guess("1", 0.01)]]

release = Release.open("artifacts/bard/release")
for text in release.generate("Return the number of", max_tokens=20):
    print(text, end="", flush=True)
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.answer import MAX_TOKENS, Answer
from pipeline.runtime.chat import Conversation
from pipeline.runtime.classes import Guess
from pipeline.runtime.classify import Classifier
from pipeline.runtime.complete import Candidate, Until
from pipeline.runtime.drafts import Drafts
from pipeline.runtime.embed import Embedder
from pipeline.runtime.errors import EngineError, RuntimeInputError
from pipeline.runtime.generate import Generator
from pipeline.runtime.manifest import Manifest, check_files, read_manifest
from pipeline.runtime.pictures import Pixels
from pipeline.runtime.product import Product
from pipeline.runtime.session import ENGINES, Session, open_session
from pipeline.runtime.texts import Hit

__all__ = ["Answer", "Candidate", "Conversation", "Guess", "Hit", "Release"]

_OPEN: Mapping[str, Callable[[Manifest, str, Session], Product]] = {
    "encode": Embedder.open,
    "classify": Classifier.open,
    "generate": Generator.open,
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
        check_files(manifest, [manifest.input_file, *manifest.optional_files, *entry.files])
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

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        drafts: Drafts = "none",
    ) -> Answer:
        """Continue a text.

        What the prompt shares with the text before it is not computed again. Where activations are rounded, that may
        turn a text where two tokens are about equally probable. A text that is not ended when the next one begins
        cannot be taken any further.

        Args:
            prompt: what is continued. Special tokens in it are read as the characters that they are written with.
            max_tokens: the most tokens of the answer.
            temperature: see `sampling.Sampling`, as for `top_k`, `top_p` and `repetition_penalty`.
            top_k: 0 allows all.
            top_p: 1 allows all.
            repetition_penalty: 1 takes nothing.
            stop: texts that end the answer; they are not part of it.
            seed: with the same one, the same text comes again; `None` gives another one each time, if `temperature`
                is above 0.
            drafts: `prompt` guesses tokens from what the text repeats. The text stays the same, and texts that repeat
                a lot may come sooner. It is refused where activations are rounded: the text would not be the same.

        Returns:
            The text as it comes: pieces that are whole characters. `"".join(...)` makes one text of it.

        Raises:
            RuntimeInputError: the release does not generate, the prompt is empty, binary or longer than the context,
                a stop string is empty, a number is not what it may be, or drafts would change the text.
        """
        return self._generator().generate(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            stop=stop,
            seed=seed,
            drafts=drafts,
        )

    def score(self, text: str) -> float:
        """How well the model predicts a text, in bits per byte of its UTF-8; less is better.

        A text of more tokens than the context is scored in pieces that know nothing of each other.

        Raises:
            RuntimeInputError: the release does not generate, or the text is empty or cannot be used.
        """
        return self._generator().score(text)

    def complete(self, text: str, n: int = 3, max_tokens: int = 8, *, until: Until = "word") -> list[Candidate]:
        """The most probable rests of the word or line at the end of a text, best first.

        Args:
            text: what stands before the cursor.
            n: candidates; fewer where the model knows no more.
            max_tokens: the most tokens of a candidate. One that does not end before is cut there, and its probability
                is that of what is left.
            until: `word` or `line`. A word behind a space at the end of `text` is the next word.

        Raises:
            RuntimeInputError: the release does not generate, or the text is empty, cannot be used or is too long.
        """
        return self._generator().complete(text, n, max_tokens, until)

    def chat(self, system: str | None = None, seed: int | None = None) -> Conversation:
        """Begin a conversation.

        Args:
            system: the system prompt; `None` takes the model's own.
            seed: of its answers, where they are sampled; see `generate`.

        Raises:
            RuntimeInputError: the model does not chat, or the system prompt is empty or cannot be used.
        """
        generator = self._generator()
        if generator.chat_format is None:
            raise RuntimeInputError(
                f"{self.manifest.folder} does not chat, it only continues texts: use `generate`, or `bardlet run`"
            )
        return Conversation(generator, generator.chat_format, system, seed)

    def _generator(self) -> Generator:
        if not isinstance(self.product, Generator):
            raise RuntimeInputError(self._refusal("generate texts"))
        return self.product

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
