"""The shared cache in a build. The build looks once, beside everything else, and after the first trouble no more.

A build must never fail or take long because of it. So nobody waits for it longer than `ENOUGH_SECONDS`, and a cache
that is missing, out of reach or refuses us costs one line.
"""

import threading
from collections.abc import Sequence

from pipeline.errors import StageError
from pipeline.orchestration.run.client import BuildServer, Tell

ENOUGH_SECONDS = 10


class SharedCache:
    """What a build knows of the default DVC remote."""

    def __init__(self, server: BuildServer, tell: Tell) -> None:
        self._server = server
        self._tell = tell
        self._thread: threading.Thread | None = None
        self._usable = False
        self._lock = threading.Lock()

    def look(self) -> None:
        """Begin to find out, in a thread, whether it can be used."""
        self._usable = True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether it can be used, as soon as that is known; False where nobody asked for it."""
        if self._thread is None:
            return False
        self._thread.join()
        return self._usable

    def give_up(self, why: str) -> None:
        """Stop using it in this build."""
        with self._lock:
            before, self._usable = self._usable, False
        if before:
            self._tell(f"the shared cache is not used from here on: {why}")

    def push(self, stages: Sequence[str]) -> str:
        """Send what `stages` left; returns what was sent, in words.

        Raises:
            StageError: not all of it arrived, or no remote is configured.
        """
        done = self._server.run({"do": "push", "stages": list(stages)}, lambda _: None)
        if done.answer is None or "trouble" in done.answer:
            why = done.answer["trouble"] if done.answer else (done.error or {}).get("error", "its process ended")
            raise StageError(f"not everything was pushed: {why}; `bardlet build --push` sends what is missing")
        sent = done.answer
        entries = "1 entry" if sent["entries"] == 1 else f"{sent['entries']} entries"
        if not sent["files"] and not sent["entries"]:
            return f"{sent['where']} has everything already"
        return f"pushed {sent['traffic']} and {entries} of the run-cache to {sent['where']}"

    def _look(self) -> None:
        try:
            done = self._server.run({"do": "look", "time_limit_s": ENOUGH_SECONDS}, lambda _: None)
        except StageError as error:
            return self.give_up(str(error))
        if done.stopped == "time limit":
            return self.give_up(f"no answer within {ENOUGH_SECONDS} s")
        if done.stopped is not None:
            self._usable = False
            return None
        if done.answer is None:
            return self.give_up((done.error or {}).get("error", "its process ended"))
        state = done.answer["state"]
        if state == "trouble":
            self.give_up(done.answer["why"])
        elif state != "ready":
            self._usable = False
            if state == "empty":
                where = done.answer["where"]
                self._tell(f"the shared cache {where} is empty or not there; `bardlet build --push` fills it")
        return None
