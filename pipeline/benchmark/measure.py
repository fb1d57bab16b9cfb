"""The timing loop: it knows a callable and nothing of models or engines."""

import gc
import time
from collections.abc import Callable

# With fewer runs a block has no tail to speak of; a slow model gets them even when its time is over.
MIN_BLOCK_RUNS = 3


def measure_block(
    call: Callable[[], object], seconds: float, max_runs: int, reset: Callable[[], object] | None = None
) -> list[int]:
    """Time `call` again and again with the garbage collector off.

    Args:
        call: what is timed, one run a call.
        seconds: no run starts after this time, save for the first few and one already due.
        max_runs: the block ends after this many runs at the latest.
        reset: undoes what a run left behind; it is called before each run, while the clock stands.

    Returns:
        Nanoseconds of each run; at least `MIN_BLOCK_RUNS`, unless `max_runs` is smaller.
    """
    clock = time.perf_counter_ns
    samples: list[int] = []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        deadline = clock() + int(seconds * 1e9)
        start = clock()
        while len(samples) < max_runs and (start < deadline or len(samples) < MIN_BLOCK_RUNS):
            if reset is not None:
                reset()
            start = clock()
            call()
            samples.append(clock() - start)
    finally:
        if collecting:
            gc.enable()
    return samples


def warm_up(call: Callable[[], object], runs: int, seconds: float, reset: Callable[[], object] | None = None) -> int:
    """Run `call` untimed, so that lazy preparation and cold caches are over before the first sample.

    Args:
        call: what will be timed.
        runs: runs at most; one is made even when this is 0, because the first run of most engines allocates.
        seconds: no run starts after this time.
        reset: as for `measure_block`.

    Returns:
        How many runs were made.
    """
    deadline = time.perf_counter() + seconds
    made = 0
    while made < max(runs, 1) and (made == 0 or time.perf_counter() < deadline):
        if reset is not None:
            reset()
        call()
        made += 1
    return made
