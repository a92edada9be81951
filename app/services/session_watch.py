"""Ends what outlives the check of its session: streams, long downloads, tunnels.

A call is let in once; its answer may flow for hours. So each answer that is under way is listed here under its session,
and once a second every listed session is looked at again: whether its record is still the one that was seen, and
whether its time is over. That costs a stat of a file, or with Redis a look into memory, and no round trip, as long as
nothing changed; passing bytes costs nothing. So a session that ends anywhere takes its streams along everywhere within
two seconds, or within five where word of changes is not heard for a moment.

A store that does not answer ends nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from app.core.errors import StoreUnavailableError
from app.observability import logs
from app.services.session_store import SeenSession

INTERVAL_SECONDS = 1.0
AT_ONCE = 50
"""Sessions that are looked at in one go, half a millisecond; thousands would hold up everything else."""
PAUSE_SECONDS = 0.001

_log = logs.get_logger(__name__)


class WatchedSessions(Protocol):
    """What is asked of the session store."""

    def see(self, key: str, before: SeenSession | None) -> SeenSession | None: ...


class _Listed:
    """One session, and what is open in it."""

    __slots__ = ("ends", "seen")

    def __init__(self) -> None:
        self.seen: SeenSession | None = None
        self.ends: dict[object, Callable[[], None]] = {}


class SessionWatch:
    """One a worker. Safe between threads, and between greenlets where threading is patched."""

    def __init__(self, sessions: WatchedSessions, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sessions = sessions
        self._sleep = sleep
        self._listed: dict[str, _Listed] = {}
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, session_key: str, end: Callable[[], None]) -> Callable[[], None]:
        """Lists something open in a session; returns what takes it off the list, to be called when it is over.

        `end` is called once if the session ends before. It comes from another thread, may not wait, and may come while
        the thing is just ending by itself.
        """
        ticket = object()
        with self._changing:
            self._listed.setdefault(session_key, _Listed()).ends[ticket] = end
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="session-watch", daemon=True)
                thread.start()
                self._thread = thread

        def stop() -> None:
            with self._changing:
                listed = self._listed.get(session_key)
                if listed is None or ticket not in listed.ends:
                    return
                del listed.ends[ticket]
                if not listed.ends:
                    del self._listed[session_key]

        return stop

    def sweep(self) -> None:
        """Looks at every listed session once, and ends what is open in those that are over."""
        for number, (session_key, listed) in enumerate(tuple(self._listed.items()), 1):
            try:
                listed.seen = self._sessions.see(session_key, listed.seen)
            except StoreUnavailableError:
                return  # asking for all the others would take as long each
            if listed.seen is None:
                self._end(session_key)
            if number % AT_ONCE == 0:
                self._sleep(PAUSE_SECONDS)

    def _end(self, session_key: str) -> None:
        with self._changing:
            listed = self._listed.pop(session_key, None)
        for end in tuple(listed.ends.values()) if listed else ():
            try:
                end()
            except Exception as error:  # noqa: BLE001  the others have to end all the same
                _log.exception("session_watch.end_failed", error_type=type(error).__name__)

    def _run(self) -> None:
        while True:
            self._sleep(INTERVAL_SECONDS)
            try:
                self.sweep()
            except Exception as error:  # noqa: BLE001  a watch that ended would leave all streams open
                _log.exception("session_watch.sweep_failed", error_type=type(error).__name__)
