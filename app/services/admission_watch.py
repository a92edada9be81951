"""Ends what outlives the check that let it in: streams, long downloads, tunnels.

A call is let in once; its answer may flow for hours. So each answer that is under way is listed here under what it was
let in by, a session or an access token, and once a second all that is listed is looked at again. Passing bytes costs
nothing.

Of a session: whether its record is still the one that was seen, and whether its time is over. That costs a stat of a
file, or with Redis a look into memory, and no round trip, as long as nothing changed. So a session that ends anywhere
takes its streams along everywhere within two seconds, or within five where word of changes is not heard for a moment.
Of a token: whether its time is over; nobody is asked for that.

A store that does not answer ends nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, Literal, TypeVar

from app.core.errors import StoreUnavailableError
from app.observability import logs

INTERVAL_SECONDS = 1.0
AT_ONCE = 50
"""What is looked at in one go; of sessions that takes half a millisecond. Thousands would hold up everything else."""
PAUSE_SECONDS = 0.001

_log = logs.get_logger(__name__)


Key = TypeVar("Key", bound=Hashable)
Seen = TypeVar("Seen")


class _Listed(Generic[Seen]):
    """One admission, and what is open by it."""

    __slots__ = ("ends", "seen")

    def __init__(self) -> None:
        self.seen: Seen | None = None
        self.ends: dict[object, Callable[[], None]] = {}


class AdmissionWatch(Generic[Key, Seen]):
    """One a worker and kind of admission. Safe between threads, and between greenlets where threading is patched."""

    def __init__(
        self, see: Callable[[Key, Seen | None], Seen | None], *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """`see` is given an admission's key and what it returned for it before; None from it: that is over. It may
        raise `StoreUnavailableError`, and does not wait for long: the others wait for it."""
        self._see = see
        self._sleep = sleep
        self._listed: dict[Key, _Listed[Seen]] = {}
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, key: Key, end: Callable[[], None]) -> Callable[[], None]:
        """Lists something that is open; returns what takes it off the list, to be called when it is over.

        `end` is called once if the admission ends before. It comes from another thread, may not wait, and may come
        while the thing is just ending by itself.
        """
        ticket = object()
        with self._changing:
            self._listed.setdefault(key, _Listed()).ends[ticket] = end
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="admission-watch", daemon=True)
                thread.start()
                self._thread = thread

        def stop() -> None:
            with self._changing:
                listed = self._listed.get(key)
                if listed is None or ticket not in listed.ends:
                    return
                del listed.ends[ticket]
                if not listed.ends:
                    del self._listed[key]

        return stop

    def sweep(self) -> None:
        """Looks at all that is listed once, and ends what is open by those that are over."""
        for number, (key, listed) in enumerate(tuple(self._listed.items()), 1):
            try:
                listed.seen = self._see(key, listed.seen)
            except StoreUnavailableError:
                return  # asking for all the others would take as long each
            except Exception as error:  # noqa: BLE001  the others have to be looked at all the same
                _log.exception("admission_watch.look_failed", error_type=type(error).__name__)
                continue
            if listed.seen is None:
                self._end(key)
            if number % AT_ONCE == 0:
                self._sleep(PAUSE_SECONDS)

    def _end(self, key: Key) -> None:
        with self._changing:
            listed = self._listed.pop(key, None)
        for number, end in enumerate(tuple(listed.ends.values()) if listed else (), 1):
            if number % AT_ONCE == 0:
                self._sleep(PAUSE_SECONDS)
            try:
                end()
            except Exception as error:  # noqa: BLE001  the others have to end all the same
                _log.exception("admission_watch.end_failed", error_type=type(error).__name__)

    def _run(self) -> None:
        while True:
            self._sleep(INTERVAL_SECONDS)
            try:
                self.sweep()
            except Exception as error:  # noqa: BLE001  a watch that ended would leave all streams open
                _log.exception("admission_watch.sweep_failed", error_type=type(error).__name__)


def build_time_look(clock: Callable[[], float]) -> Callable[[float, Literal[True] | None], Literal[True] | None]:
    """Returns a look for what is open until a time: its keys are epoch seconds."""
    return lambda ends_at, _before: True if clock() < ends_at else None
