"""Golden inputs and outputs: what a release gives here, so that a device can tell whether it gives the same."""

from collections.abc import Mapping
from itertools import combinations
from math import acos, cos, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError
from pipeline.layout import Engine, Variant
from pipeline.params import Tolerance
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
# Between unit vectors; a cosine of 0.995. Other CPUs round int8 and bf16 differently, a wrong file is far outside.
MAX_DISTANCE = 0.1
_DIGITS = 6


def record(manifest: Manifest) -> dict[str, Any]:
    """Run the bundled files of every engine on `TEXTS`; the result is the content of golden.json.

    Raises:
        ReleaseError: an engine refuses its file, or returns a wrong shape or NaN.
    """
    engines, token_ids = {}, []
    for name in manifest.engines:
        release = Release.load(manifest, name)
        token_ids = [release.token_ids(text) for text in TEXTS]
        rows = release.encode(TEXTS).astype(np.float64).round(_DIGITS).tolist()
        engines[name] = {"variant": manifest.engines[name].variant, "embeddings": rows}
    return {"max_distance": MAX_DISTANCE, "texts": list(TEXTS), "token_ids": token_ids, "engines": engines}


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
            problems.append(f"{first} and {second}: mean cosine {observed:.4f} < {allowed:.4f} on the golden texts")
    if problems:
        advice = "the exports are not of the same model: `dvc repro --force` the export stages"
        raise StageError("\n".join(["refusing to release engines that contradict each other:", *problems, advice]))


def verify(manifest: Manifest) -> None:
    """Open the finished release anew on each engine and repeat its golden texts.

    Raises:
        StageError: naming every text that an engine does not repeat.
    """
    problems = [
        f"{Engine(name)}: {problem}"
        for name in manifest.engines
        for problem in check_golden(Release.open(manifest.folder, name, threads=1))
    ]
    if problems:
        raise StageError("\n".join(["refusing to release a bundle that does not repeat its own outputs:", *problems]))


def _mean_cosine(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    first, second = (_unit(np.array(entry["embeddings"])) for entry in (one, other))
    return float((first * second).sum(axis=1).mean())


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, np.finfo(np.float64).tiny)
