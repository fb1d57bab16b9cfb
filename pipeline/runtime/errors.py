"""Errors of the device side; `exit_code` is what `bardlet run` ends with.

The codes are those of `pipeline.errors`, which a device does not have.
"""


class ReleaseError(Exception):
    """A release cannot be used; the message is for a person and needs no traceback."""

    exit_code: int = 5


class RuntimeInputError(ReleaseError):
    """What the caller supplied is wrong: a path, a text, an engine's name."""

    exit_code = 2


class TamperedError(ReleaseError):
    """A file of the release is not what its manifest says."""

    exit_code = 4


class EngineError(ReleaseError):
    """An engine is missing, or refuses the model."""

    exit_code = 5
