"""Compare the tool versions that params.yaml pins with those that are installed.

The pins are part of the cache key of the stages that use them, so a pin that is not what is installed
would file a stage's result under the wrong name.
"""

from importlib.metadata import PackageNotFoundError, version

from pipeline.params.file import LoadedParams, input_error
from pipeline.params.yaml_lines import Problem

# Settings of a converter that stand among the versions because they too belong to the cache key.
_NOT_PACKAGES = frozenset({"opset"})


def check(loaded: LoadedParams) -> None:
    """Make sure that every package of `toolchain` is installed in the pinned version.

    Raises:
        InputError: naming every package that is not, with its line and what is installed instead.
    """
    problems = [
        Problem(loaded.line(f"toolchain.{group}.{package}"), f"toolchain.{group}.{package}", message)
        for group, pins in loaded.params.toolchain.items()
        for package, pin in pins.items()
        if package not in _NOT_PACKAGES and (message := _mismatch(package, str(pin)))
    ]
    if problems:
        raise input_error(loaded.path, problems)


def installed_version(package: str) -> str | None:
    """Version of an installed package without its build (`2.13.0` of `2.13.0+cpu`); None if it is not installed."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def _mismatch(package: str, pin: str) -> str | None:
    installed = installed_version(package)
    if installed is None:
        return f"is {pin}, but {package} is not installed: `make setup` installs the lock"
    if installed != pin:
        return f"is {pin}, but {installed} is installed: run `make setup`, or write {installed} here"
    return None
