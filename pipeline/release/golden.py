"""Golden inputs and outputs: what a release gives here, so that a device can tell whether it gives the same."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import acos, cos, pi
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.layout import Engine, Variant
from pipeline.params.blocks import Tolerance
from pipeline.runtime.golden import check_golden
from pipeline.runtime.manifest import Manifest
from pipeline.runtime.release import Release

# Short and long, prose and code, other scripts, no words at all, and more than any model's longest input.
TEXTS = (
    "Parse a date string and return a datetime object.",
    "def read_csv(path, sep=','): read a delimited file into a table",
    "Raises ValueError if the matrix is singular.",
    "thread-safe queue",
    "x",
    "",
    "Größe der Datei in Bytes; 文字列を返す; вернуть строку",
    "Return the number of seconds since the epoch as a floating point number. " * 20,
)
# Prose, a statement and code, short: a text is recorded token by token.
PROMPTS = ("The capital of France is", "Return the number of", 'def read_csv(path):\n    """Read')
_IMAGES, _IMAGE_BYTES = 8, 400_000


def record(manifest: Manifest, data: Path) -> dict[str, Any]:
    """Run the bundled files of every engine on golden examples; the result is the content of golden.json.

    Args:
        manifest: of the release so far.
        data: data/<model>/, whose held-out images become golden; texts are `TEXTS`, prompts `PROMPTS`.

    Raises:
        IntegrityError: there are no held-out images where the release takes images.
        ReleaseError: an engine refuses its file, or returns a wrong shape or NaN.
    """
    products = {name: Release.load(manifest, name).product for name in manifest.engines}
    examples = _EXAMPLES[manifest.verb](data)
    engines = {
        name: {"variant": manifest.engines[name].variant, **product.golden_outputs(examples)}
        for name, product in products.items()
    }
    return {**next(iter(products.values())).golden_inputs(examples), "engines": engines}


def heldout_images(data: Path) -> list[NDArray[np.uint8]]:
    """The first held-out image of up to 8 classes, fewer (at least 2) if they are large, `[h, w]` or `[h, w, 3]`.

    Raises:
        IntegrityError: heldout.safetensors is missing or damaged.
    """
    # It brings torch, which a release for texts does without.
    from pipeline.images import storage

    heldout = storage.load_split(data / storage.HELDOUT)
    rows = np.unique(heldout.labels, return_index=True)[1]
    count = min(_IMAGES, max(2, _IMAGE_BYTES // heldout.images[0].nbytes))
    images = heldout.images[rows[:count]]
    return list(images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1))


def require_agreement(golden: Mapping[str, Any], tolerances: Mapping[Variant, Tolerance]) -> None:
    """Refuse engines that contradict each other: a file of another model passes every other check.

    Two exports of one model whose mean cosines to it are a and b are at most acos(a) + acos(b) apart.

    Raises:
        StageError: naming each pair of engines that is further apart.
    """
    problems = []
    for (first, one), (second, other) in combinations(golden["engines"].items(), 2):
        angle = sum(acos(tolerances[Variant(entry["variant"])].mean_cosine) for entry in (one, other))
        observed, allowed = _mean_cosine(one, other), cos(min(angle, pi))
        if not observed >= allowed:
            problems.append(f"{first} and {second}: mean cosine {observed:.4f} < {allowed:.4f} on the golden inputs")
    if problems:
        advice = "the exports are not of the same model: `dvc repro --force` the export stages"
        raise StageError("\n".join(["refusing to release engines that contradict each other:", *problems, advice]))


def verify(manifest: Manifest) -> None:
    """Open the finished release anew on each engine and repeat its golden inputs.

    Raises:
        StageError: naming every input that an engine does not repeat.
    """
    problems = [
        f"{Engine(name)}: {problem}"
        for name in manifest.engines
        for problem in check_golden(Release.open(manifest.folder, name, threads=1))
    ]
    if problems:
        raise StageError("\n".join(["refusing to release a bundle that does not repeat its own outputs:", *problems]))


# By verb, where golden examples come from.
_EXAMPLES: Mapping[str, Callable[[Path], Sequence[Any]]] = {
    "encode": lambda data: TEXTS,
    "classify": heldout_images,
    "generate": lambda data: PROMPTS,
}


def _mean_cosine(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    first, second = (_unit(np.array(entry["outputs"])) for entry in (one, other))
    return float((first * second).sum(axis=1).mean())


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, np.finfo(np.float64).tiny)
