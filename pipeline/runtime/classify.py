"""The verb `classify`: images become classes with probabilities."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.classes import Guess, guesses, probabilities
from pipeline.runtime.golden_images import fingerprint, pack, unpack
from pipeline.runtime.images import Preprocessing, as_list, prepare_all, read_preprocessing
from pipeline.runtime.manifest import Manifest
from pipeline.runtime.pictures import Pixels
from pipeline.runtime.product import DIGITS, rounded, run_rows
from pipeline.runtime.session import Session

# Of one class's probability. Other CPUs round int8 and bf16 differently; a wrong file differs by far more.
MAX_DIFFERENCE = 0.15


class Classifier:
    """Classifies images on one engine; `Release.classify` and `Release.logits` are its public face.

    Attributes:
        preprocessing: how images are made ready, and what the classes are called.
    """

    def __init__(self, engine: str, session: Session, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._engine = engine
        self._session = session

    @classmethod
    def open(cls, manifest: Manifest, engine: str, session: Session) -> "Classifier":
        """Load what makes images ready.

        Raises:
            TamperedError: preprocessing.json cannot be understood.
        """
        return cls(engine, session, read_preprocessing(manifest.path(manifest.input_file)))

    def classify(
        self, images: Sequence[str | Path | Pixels], top: int | None = None, batch: int = 1
    ) -> list[list[Guess]]:
        """See `Release.classify`."""
        return [guesses(row, self.preprocessing.labels, top) for row in self.logits(images, batch)]

    def logits(self, images: Sequence[str | Path | Pixels], batch: int = 1) -> NDArray[np.float32]:
        """See `Release.logits`."""
        classes = len(self.preprocessing.labels)
        prepared = prepare_all(as_list(images), self.preprocessing)
        rows = np.empty((len(prepared), classes), np.float32)
        for start in range(0, len(prepared), batch):
            image = prepared[start : start + batch].astype(np.float32)
            what = f"images {start} and following"
            rows[start : start + batch] = run_rows(
                self._engine, self._session, {"image": image}, (len(image), classes), what
            )
        return rows

    def golden_inputs(self, examples: Sequence[Pixels]) -> dict[str, Any]:
        """The images, and checksums of how patterns are made ready."""
        height, width = self.preprocessing.height, self.preprocessing.width
        # Larger in colours and smaller in gray, both of other proportions: every step of the preparation.
        shapes = ((2 * height + 3, 3 * width + 1, 3), (height // 2 + 1, width // 3 + 1))
        patterns = [{"shape": list(shape), "sha256": fingerprint(self.preprocessing, shape)} for shape in shapes]
        return {"max_difference": MAX_DIFFERENCE, "patterns": patterns, "images": [pack(image) for image in examples]}

    def golden_outputs(self, examples: Sequence[Pixels]) -> dict[str, Any]:
        """Logits, [n, classes]."""
        return {"outputs": rounded(self.logits(examples))}

    def compare(self, golden: Mapping[str, Any]) -> list[str]:
        """One line for each pattern that is made ready differently; if none is, for each image with another answer."""
        limit = float(golden["max_difference"])
        problems = [
            f"a pattern of shape {entry['shape']} is prepared to {made}, expected {entry['sha256']}"
            for entry in golden["patterns"]
            if (made := fingerprint(self.preprocessing, tuple(entry["shape"]))) != entry["sha256"]
        ]
        if problems:
            return problems
        then = probabilities(np.array(golden["engines"][self._engine]["outputs"]))
        now = probabilities(self.logits([unpack(entry) for entry in golden["images"]]))
        differences = np.abs(now - then).max(axis=1)
        return [
            f"image {index}: {self._engine} is {difference:.3g} away from a recorded probability, allowed {limit:.3g}"
            for index, difference in enumerate(differences)
            if not difference <= limit
        ]

    def lines(self, inputs: Sequence[str], top: int) -> Iterator[str]:
        """The `top` classes of each image; all images are read before the first line."""
        for path, found in zip(inputs, self.classify(inputs, top), strict=True):
            classes = [{"class": label, "probability": round(share, DIGITS)} for label, share in found]
            yield json.dumps({"image": path, "classes": classes}, ensure_ascii=False)
