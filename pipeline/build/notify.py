"""Telling someone that a build needs a person, without a server's automations.

The environment variable BARDLET_NOTIFY holds a command for the shell; it gets JSON on standard input:

    BARDLET_NOTIFY='mail -s "bardlet" team@example.org' bardlet serve

It is set where builds run, and not in a deployment's parameters, which anybody who sees the UI can change.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

VARIABLE = "BARDLET_NOTIFY"
_SECONDS = 30


def message(exit_code: int, verdict: str | None, lines: Sequence[str]) -> dict[str, Any]:
    """What the command gets.

    Args:
        exit_code: of the build: 1 a budget is missed, 3 inconclusive, others: it broke.
        verdict: of the gate, None where the build did not come to it.
        lines: the checks that are no PASS, or the stages that failed.
    """
    what = {1: "a budget is missed", 3: "the measurement is inconclusive"}.get(exit_code, "the build failed")
    return {"text": f"bardlet: {what}", "exit_code": exit_code, "verdict": verdict, "lines": list(lines)}


def notify(content: Mapping[str, Any]) -> str | None:
    """Run the command, if there is one; returns what went wrong with it."""
    command = os.environ.get(VARIABLE)
    if not command:
        return None
    try:
        done = subprocess.run(
            command, shell=True, input=json.dumps(content), text=True, capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{VARIABLE}: not done after {_SECONDS} s"
    return f"{VARIABLE} ended with {done.returncode}: {done.stderr.strip()}" if done.returncode else None
