"""Lets a build and a worker notice that the other is gone: a counter has to move.

Both write a counter into the labels of the stage's flow run and read the other's. Only changes count, so the clocks of
the machines need not agree, and an update that gets lost costs one beat.
"""

import time
from dataclasses import dataclass, field

# A board on a poor network may miss a few beats; a stage that nobody waits for may not run on for long.
LEASE_SECONDS = 30.0
BEAT_SECONDS = 3.0
BUILD, WORKER = "bardlet.build.beat", "bardlet.worker.beat"
WORKER_NAME = "bardlet.worker.name"


@dataclass
class Lease:
    """When the other side last moved.

    Attributes:
        seconds: the other counts as gone after this long without a change.
    """

    seconds: float = LEASE_SECONDS
    _seen: object = None
    _since: float = field(default_factory=time.monotonic)

    def see(self, value: object, now: float | None = None) -> None:
        """Note the other's counter as it is now, or None where it cannot be read."""
        if value is not None and value != self._seen:
            self._seen = value
            self._since = time.monotonic() if now is None else now

    def expired(self, now: float | None = None) -> bool:
        """Whether the counter has not moved for too long."""
        return (time.monotonic() if now is None else now) - self._since > self.seconds
