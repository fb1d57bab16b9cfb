"""The device side: opens a release, checks it and runs it with numpy, tokenizers and one engine.

Nothing else of the pipeline is imported here, so this package can be copied to a device as it is.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.runtime.release import Release

__all__ = ["Release"]


def __getattr__(name: str) -> Any:
    """Import `Release` when it is first asked for: measuring a session must not load the tokenizer."""
    if name == "Release":
        from pipeline.runtime.release import Release

        return Release
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
