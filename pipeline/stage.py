"""The command line of a stage, and how errors become exit codes.

    if __name__ == "__main__":
        stage.main(run, ("MODEL", "ENGINE"))

makes `python -m stages.export docs-embed openvino [--debug]` call `run("docs-embed", "openvino")`.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import processes
from pipeline.errors import INTERRUPTED, BardletError, ExitCode
from pipeline.machine_lock import machine

# DVC sets it for the commands that it runs.
DVC_STAGE = "DVC_STAGE"
# Nothing that a stage imports may phone home or chat; a user's own setting wins.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NNCF_CI": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
# Threads that wait for each other by spinning lose 4 to 6 times their speed as soon as anything else wants a core
# (measured: 36 against 206, and 117 against 488 texts/s of training beside one other process).
_THREADS = {"OMP_WAIT_POLICY": "passive"}
# At import, these loggers report on GPUs and on other versions of their packages.
_CHATTY_LOGGERS = ("torchao", "torch.utils._pytree")


def set_defaults() -> None:
    """Turn off telemetry, start-up messages and spinning threads of the packages that are imported from now on."""
    for name, value in {**_QUIET, **_THREADS}.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


set_defaults()


def main(run: Callable[..., object], names: Sequence[str], alone: bool = False) -> None:
    """Call `run` with the positional arguments of the command line, then leave the process.

    Args:
        run: takes one text for each of `names`. If it returns an `ExitCode`, that is the exit code.
        names: what the arguments are, for the usage line.
        alone: the stage measures, so no other stage of this project may run on the machine meanwhile.

    Raises:
        SystemExit: always; 0 when `run` returned, 2 for a wrong command line, else the error's code.
    """
    if DVC_STAGE in os.environ:
        # A killed `dvc repro` leaves its command running, and the next one would start the same command beside it.
        processes.die_with(processes.first_ancestor_without(DVC_STAGE))
    program = f"stages.{Path(sys.argv[0]).stem}"
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    usage = " ".join(["usage: python -m", program, *names, "[--debug]"])
    if arguments in (["-h"], ["--help"]):
        print(usage)
        sys.exit(ExitCode.PASS)
    if len(arguments) != len(names) or any(argument.startswith("-") for argument in arguments):
        given = " ".join(arguments) or "nothing"
        print(f"{program}: error: expected {' '.join(names) or 'no arguments'}, got {given}\n{usage}", file=sys.stderr)
        sys.exit(ExitCode.BAD_INPUT)
    sys.exit(guard(lambda: _run(run, program, arguments, alone), " ".join([program, *arguments]), debug))


def _run(run: Callable[..., object], program: str, arguments: Sequence[str], alone: bool) -> object:
    taken = "by other stages" if alone else "by a measurement"
    with machine(alone, lambda: print(f"{program}: waiting: the machine is taken {taken}", file=sys.stderr)):
        return run(*arguments)


def guard(action: Callable[[], object], program: str, debug: bool) -> int:
    """Run `action` and return its exit code; an error becomes one message on stderr.

    Args:
        action: may return an exit code as an int, anything else counts as success.
        program: what the message starts with.
        debug: show the traceback too.
    """
    try:
        result = action()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output is gone (`| head`); pointing stdout elsewhere keeps the exit silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PASS
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"{program}: error: {describe(error)}", file=sys.stderr)
        return exit_code(error)
    return int(result) if isinstance(result, int) and not isinstance(result, bool) else ExitCode.PASS


def exit_code(error: Exception) -> int:
    """The `exit_code` of an error that has one, whoever defined it; 5 for any other error."""
    code = getattr(error, "exit_code", None)
    return int(code) if isinstance(code, int) else ExitCode.BROKEN


def describe(error: Exception) -> str:
    """An error's message; for an unexpected error, its class and the option that shows its traceback."""
    if isinstance(error, BardletError) or hasattr(error, "exit_code"):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror} ({type(error).__name__}; --debug shows where)"
    return f"unexpected {type(error).__name__}: {error} (--debug shows the traceback)"
