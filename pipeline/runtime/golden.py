"""A release's self-check: known inputs with what they gave when the release was made."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime import golden_images
from pipeline.runtime.errors import TamperedError
from pipeline.runtime.manifest import check_files
from pipeline.runtime.release import Release


def check_golden(release: Release) -> list[str]:
    """Run the golden texts or images on the release's engine and compare.

    Returns:
        One line for each difference; empty when the release does here what it did when it was made.

    Raises:
        TamperedError: golden.json is not what the manifest says.
    """
    manifest = release.manifest
    check_files(manifest, [manifest.golden])
    path = manifest.path(manifest.golden)
    try:
        golden = json.loads(path.read_text(encoding="utf-8"))
        compare = _compare_texts if "texts" in golden else golden_images.compare
        return compare(release, golden)
    except (KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"{path} is damaged ({error}): fetch the release again") from error


def _compare_texts(release: Release, golden: Mapping[str, Any]) -> list[str]:
    expected = np.array(golden["engines"][release.engine]["embeddings"], np.float32)
    limit = float(golden["max_distance"])
    texts, token_ids = golden["texts"], golden["token_ids"]
    problems = [
        f"{text!r:.60}: {len(now)} tokens {now[:8]}..., expected {len(then)} tokens {then[:8]}..."
        for text, then in zip(texts, token_ids, strict=True)
        if (now := release.token_ids(text)) != then
    ]
    return problems or _differences(release, texts, expected, limit)


def _differences(release: Release, texts: list[str], expected: NDArray[np.float32], limit: float) -> list[str]:
    distances = np.linalg.norm(release.encode(texts) - expected, axis=1)
    return [
        f"{text!r:.60}: {release.engine} is {distance:.3g} away from the recorded embedding, allowed {limit:.3g}"
        for text, distance in zip(texts, distances, strict=True)
        if not distance <= limit
    ]
