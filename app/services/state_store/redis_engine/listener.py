"""Hears of changes that others make, over pub/sub, in a thread of its own (a greenlet under gevent).

While it is not connected nothing is heard: copies then live for `session.local_cache_seconds`, which whoever keeps them
sees to. When it is connected again, all that was read before counts as changed.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import structlog

from app.services.state_store.redis_engine.changes import Changes
from app.services.state_store.redis_engine.failures import RedirectedError, RedisFailedError, ScriptUnknownError
from app.services.state_store.redis_engine.frame import HEAD_BYTES
from app.services.state_store.redis_engine.topology import Topology
from app.services.state_store.redis_engine.wire import Reply, Wire

_SILENCE_SECONDS = 1.0
"""After this long without a word the other side is asked for one: a broken network says nothing by itself."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_NO_HEAD = bytes(HEAD_BYTES)

_log = structlog.get_logger(__name__)


def build_announcement(key: str, head: bytes = b"") -> bytes:
    """`head` is what the record begins with from now on; empty when it is gone."""
    return (head or _NO_HEAD) + key.encode("ascii")


def parse_announcement(announcement: bytes) -> tuple[str, bytes]:
    """Returns key and head. What is no announcement of ours names no key of ours, and does no harm."""
    head = announcement[:HEAD_BYTES]
    return announcement[HEAD_BYTES:].decode("ascii", "replace"), b"" if head == _NO_HEAD else head


class ChangeListener:
    def __init__(
        self,
        topology: Topology,
        channel: str,
        changes: Changes,
        *,
        on_hearing: Callable[[], None],
    ) -> None:
        """`on_hearing` is called when the connection is there, at first and whenever it was lost. It may not raise."""
        self._topology = topology
        self._on_hearing = on_hearing
        self._channel = channel
        self._changes = changes
        self._stopping = threading.Event()
        self._hearing = threading.Event()
        self._thread: threading.Thread | None = None
        self._wire: Wire | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._is_loss_told = False

    def start(self) -> None:
        """Once, in the process that is to hear: a thread does not survive a fork."""
        self._thread = threading.Thread(target=self._run, name="redis-changes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Waits for its end, which is quick unless it is just connecting."""
        self._stopping.set()
        if self._wire is not None:
            self._wire.hang_up()
        if self._thread is not None:
            self._thread.join(timeout=_SILENCE_SECONDS * 2)

    def is_hearing(self) -> bool:
        return self._hearing.is_set()

    def wait_until_hearing(self, wait_seconds: float) -> bool:
        return self._hearing.wait(wait_seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except RedisFailedError as failure:
                self._tell_loss(failure.reason)
            except (RedirectedError, ScriptUnknownError) as error:
                self._tell_loss(str(error))
            except Exception as error:  # noqa: BLE001  a listener that ended would leave copies to their age for good
                self._tell_loss(type(error).__name__)
            self._hearing.clear()
            self._stopping.wait(self._pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311
            self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _listen(self) -> None:
        wire = self._wire = self._topology.open_listener()
        try:
            self._subscribe(wire)
            while not self._stopping.is_set():
                if not self._topology.hears_all(wire.host):
                    raise RedisFailedError(f"another server took over from {wire.host}")
                if not wire.has_word(_SILENCE_SECONDS):
                    wire.send("PING")
                self._take_in(wire.read())
        finally:
            self._wire = None
            wire.close()

    def _subscribe(self, wire: Wire) -> None:
        wire.call("SUBSCRIBE", self._channel)
        self._changes.forget_all()
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._hearing.set()
        if self._is_loss_told:
            self._is_loss_told = False
            _log.info("store.changes_heard_again")
        self._on_hearing()

    def _take_in(self, word: Reply) -> None:
        if word[0] == b"message":  # else it is the answer to a PING
            self._changes.note(*parse_announcement(word[2]))

    def _tell_loss(self, reason: str) -> None:
        if not self._is_loss_told and not self._stopping.is_set():
            self._is_loss_told = True
            _log.warning("store.changes_not_heard", reason=reason)
