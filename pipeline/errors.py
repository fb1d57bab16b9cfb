"""Errors that a person is meant to read, each with the exit code of its kind.

Every message says what happened, where, what was observed against what is allowed, and what to do next.
"""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `bardlet` and of every stage."""

    PASS = 0
    BUDGET_MISSED = 1
    BAD_INPUT = 2
    INCONCLUSIVE = 3
    INTEGRITY = 4
    BROKEN = 5


# Ctrl-C, by the convention of shells: nothing failed.
INTERRUPTED = 130


class BardletError(Exception):
    """A failure that a person can act on; the message is shown without a traceback."""

    exit_code: ExitCode = ExitCode.BROKEN


class InputError(BardletError):
    """What the user wrote or supplied is wrong: parameters, data, arguments."""

    exit_code = ExitCode.BAD_INPUT


class IntegrityError(BardletError):
    """A file is not what its checksum, header or manifest says."""

    exit_code = ExitCode.INTEGRITY


class BudgetError(BardletError):
    """A budget is missed."""

    exit_code = ExitCode.BUDGET_MISSED


class InconclusiveError(BardletError):
    """The measurement allows no verdict."""

    exit_code = ExitCode.INCONCLUSIVE


class StageError(BardletError):
    """A stage or an engine failed: a diverging loss, a converter's refusal, a crash."""

    exit_code = ExitCode.BROKEN


def listed(problems: Sequence[str], most: int) -> list[str]:
    """The first `most` problems, and a last entry that says how many there are besides."""
    more = [f"and {len(problems) - most} more"] if len(problems) > most else []
    return [*problems[:most], *more]
