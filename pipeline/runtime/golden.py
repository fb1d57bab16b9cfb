"""A release's self-check: known inputs with what they gave when the release was made."""

import json

from pipeline.runtime.errors import TamperedError
from pipeline.runtime.manifest import check_files
from pipeline.runtime.release import Release


def check_golden(release: Release) -> list[str]:
    """Run the golden inputs on the release's engine and compare.

    Returns:
        One line for each difference; empty when the release does here what it did when it was made.

    Raises:
        TamperedError: golden.json is not what the manifest says.
    """
    manifest = release.manifest
    check_files(manifest, [manifest.golden])
    path = manifest.path(manifest.golden)
    try:
        return release.product.compare(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"{path} is damaged ({error}): fetch the release again") from error
