"""Show how far a long loop is: a bar in a terminal, otherwise a plain line now and then; both on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

# Often enough to see that it is alive, seldom enough for the log of a nightly build.
_SECONDS_BETWEEN_LINES = 10.0


def note(text: str) -> None:
    """Write one plain line to stderr."""
    print(text, file=sys.stderr, flush=True)


def _nothing() -> str:
    return ""


def track(
    iterable: Iterable[Item], total: int, label: str, unit: str, detail: Callable[[], str] = _nothing
) -> Iterator[Item]:
    """Yield the items of `iterable` while showing how many are done, the rate and the time left.

    Args:
        iterable: what the loop goes over.
        total: number of items, only shown.
        label: what is being done, such as `distill docs-embed`.
        unit: plural name of an item, such as `steps`.
        detail: what else to show, such as the loss; it is asked whenever something is shown.
    """
    if sys.stderr.isatty():
        yield from _bar(iterable, total, label, unit, detail)
    else:
        yield from _lines(iterable, total, label, unit, sys.stderr, detail)


def progress_line(label: str, unit: str, done: int, total: int, seconds: float, detail: str = "") -> str:
    """One line: `distill docs-embed: 120/480 steps, 8.1 steps/s, 0:44 left`, and the detail if there is one."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {_clock((total - done) / rate)} left" if 0 < done < total and rate else ""
    return f"{label}: {done}/{total} {unit}, {_rate(rate)} {unit}/s{left}{_behind(detail)}"


def _bar(
    iterable: Iterable[Item], total: int, label: str, unit: str, detail: Callable[[], str] = _nothing
) -> Iterator[Item]:
    # Imported only here: a stage without a bar, and a device, do without rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")
        start = time.monotonic()
        for done, item in enumerate(iterable, start=1):
            yield item
            rate = done / max(time.monotonic() - start, 1e-9)
            progress.update(task, completed=done, rate=f"{_rate(rate)} {unit}/s{_behind(detail())}")


def _lines(
    iterable: Iterable[Item],
    total: int,
    label: str,
    unit: str,
    stream: TextIO,
    detail: Callable[[], str] = _nothing,
) -> Iterator[Item]:
    start = last = time.monotonic()
    done = 0
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and done < total:
            last = now
            print(progress_line(label, unit, done, total, now - start, detail()), file=stream, flush=True)
    print(progress_line(label, unit, done, total, time.monotonic() - start, detail()), file=stream, flush=True)


def _behind(detail: str) -> str:
    return f", {detail}" if detail else ""


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
