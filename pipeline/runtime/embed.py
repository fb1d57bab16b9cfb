"""The verb `encode`: texts become vectors, and are ranked by them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.errors import RuntimeInputError
from pipeline.runtime.manifest import Manifest
from pipeline.runtime.product import DIGITS, rounded, run_rows
from pipeline.runtime.session import Session
from pipeline.runtime.texts import Hit, batches, best, checked, open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Between unit vectors: a cosine of 0.995. Other CPUs round int8 and bf16 differently; a wrong file differs far more.
MAX_DISTANCE = 0.1


class Embedder:
    """Embeds texts on one engine; `Release.encode` and `Release.rank` are its public face.

    Attributes:
        dim: features of one embedding.
    """

    def __init__(self, engine: str, session: Session, tokenizer: "Tokenizer", dim: int) -> None:
        self.dim = dim
        self._engine = engine
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, manifest: Manifest, engine: str, session: Session) -> "Embedder":
        """Load what makes texts ready.

        Raises:
            TamperedError: the manifest or the tokenizer is damaged.
            EngineError: the package tokenizers is not installed.
        """
        tokenizer = open_tokenizer(manifest.path(manifest.input_file), manifest.number("max_tokens"))
        return cls(engine, session, tokenizer, manifest.number("dim"))

    def token_ids(self, text: str) -> list[int]:
        """See `Release.token_ids`."""
        return list(self._tokenizer.encode(checked(text)).ids)

    def encode(
        self, texts: Sequence[str], batch: int = 1, on_progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """See `Release.encode`."""
        if isinstance(texts, str):
            raise RuntimeInputError("encode takes a list of texts: write encode([text])")
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch([checked(text) for text in texts])]
        if empty := [text for text, ids in zip(texts, tokens, strict=True) if not ids]:
            raise RuntimeInputError(f"the tokenizer makes no token of {empty[0]!r:.80}: there is nothing to embed")
        embeddings = np.empty((len(texts), self.dim), np.float32)
        done = 0
        for rows in batches([len(ids) for ids in tokens], batch):
            ids = np.array([tokens[row] for row in rows], np.int32)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            what = f"{len(ids)} texts of {ids.shape[1]} tokens"
            embeddings[rows] = run_rows(self._engine, self._session, inputs, (len(ids), self.dim), what)
            done += len(rows)
            if on_progress:
                on_progress(done)
        return embeddings

    def rank(self, texts: Sequence[str], corpus: Sequence[str] | NDArray[np.float32], top: int) -> list[list[Hit]]:
        """See `Release.rank`."""
        rows = corpus if isinstance(corpus, np.ndarray) else self.encode(corpus)
        scores = self.encode(texts) @ rows.T
        return [best(row, top) for row in scores]

    def golden_inputs(self, examples: Sequence[str]) -> dict[str, Any]:
        """The texts and their tokens."""
        token_ids = [self.token_ids(text) for text in examples]
        return {"max_distance": MAX_DISTANCE, "texts": list(examples), "token_ids": token_ids}

    def golden_outputs(self, examples: Sequence[str]) -> dict[str, Any]:
        """Embeddings, [n, dim]."""
        return {"outputs": rounded(self.encode(examples))}

    def compare(self, golden: Mapping[str, Any]) -> list[str]:
        """One line for each text with other tokens; if none has, for each whose embedding is too far away."""
        expected = np.array(golden["engines"][self._engine]["outputs"], np.float32)
        limit = float(golden["max_distance"])
        texts, token_ids = golden["texts"], golden["token_ids"]
        problems = [
            f"{text!r:.60}: {len(now)} tokens {now[:8]}..., expected {len(then)} tokens {then[:8]}..."
            for text, then in zip(texts, token_ids, strict=True)
            if (now := self.token_ids(text)) != then
        ]
        return problems or self._too_far(texts, expected, limit)

    def lines(self, inputs: Sequence[str], top: int) -> Iterator[str]:
        """The embedding of each text; `top` is for products with several answers."""
        for text in inputs:
            row = self.encode([text])[0]
            embedding = [round(value, DIGITS) for value in row.tolist()]
            yield json.dumps({"text": text, "embedding": embedding}, ensure_ascii=False)

    def _too_far(self, texts: Sequence[str], expected: NDArray[np.float32], limit: float) -> list[str]:
        distances = np.linalg.norm(self.encode(texts) - expected, axis=1)
        return [
            f"{text!r:.60}: {self._engine} is {distance:.3g} away from the recorded embedding, allowed {limit:.3g}"
            for text, distance in zip(texts, distances, strict=True)
            if not distance <= limit
        ]
