"""Tells someone that a build needs a person, without automations of a server.

The environment variable BARDLET_NOTIFY holds a command for the shell; it gets JSON on standard input:

    BARDLET_NOTIFY='mail -s "bardlet" team@example.org' bardlet serve

It is set where builds run, and not in a deployment's parameters, which anybody who sees the UI can change.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import ExitCode

VARIABLE = "BARDLET_NOTIFY"
_SECONDS = 30
_WORDS = {
    int(ExitCode.BUDGET_MISSED): "a budget is missed",
    int(ExitCode.INCONCLUSIVE): "the measurement is inconclusive",
}


def message(exit_code: int, verdict: str | None, lines: Sequence[str]) -> dict[str, Any]:
    """What the command gets.

    Args:
        exit_code: of the build; 0 where the gate was the last stage that was asked for.
        verdict: of the gate, None where the build did not come to it.
        lines: the checks that are no PASS, or the stages that failed.
    """
    judged = {"FAIL": ExitCode.BUDGET_MISSED, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}.get(verdict or "", exit_code)
    what = _WORDS.get(exit_code or judged, "the build failed")
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
