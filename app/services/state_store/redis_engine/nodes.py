"""The servers a worker has to do with, and what it knows about each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.pool import WirePool
from app.services.state_store.redis_engine.wire import Wire, WireOpener

_REPLICAS_KNOWN_FOR_SECONDS = 10
_NO_REPLICAS_KNOWN_FOR_SECONDS = 1
"""After a failover the old primary comes back as a replica, and from then on is to be waited for."""


class Node:
    """One server."""

    def __init__(self, host: HostAndPort, pool: WirePool, monotonic: Callable[[], float]) -> None:
        self.host = host
        self.pool = pool
        self._monotonic = monotonic
        self._replicas = 0
        self._ask_again_at = float("-inf")

    def count_replicas(self, wire: Wire) -> int:
        """How many follow it, by an answer of the last seconds; 0 when we may not ask. Raises `RedisFailedError`."""
        now = self._monotonic()
        if now >= self._ask_again_at:
            self._ask_again_at = now + _NO_REPLICAS_KNOWN_FOR_SECONDS
            self._replicas = self._ask_for_replicas(wire)
            if self._replicas:
                self._ask_again_at = now + _REPLICAS_KNOWN_FOR_SECONDS
        return self._replicas

    def _ask_for_replicas(self, wire: Wire) -> int:
        try:
            role = wire.call("ROLE")
        except RedisFailedError:
            if not wire.is_open():
                raise
            return 0  # the user may not ask
        return len(role[2]) if role[0] == b"master" else 0


class Nodes:
    """Makes each node once."""

    def __init__(self, opener: WireOpener, most_wires: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._opener = opener
        self._most_wires = most_wires
        self._monotonic = monotonic
        self.check_opened: Callable[[HostAndPort], None] = lambda _host: None
        """Called once a connection to this server is there; raises `RedisFailedError` when it must not be used."""
        self._nodes: dict[HostAndPort, Node] = {}
        self._changing = threading.Lock()

    def get(self, host: HostAndPort) -> Node:
        node = self._nodes.get(host)
        if node is None:
            with self._changing:
                node = self._nodes.get(host) or self._build(host)
                self._nodes[host] = node
        return node

    def open_wire(self, host: HostAndPort, timeout_seconds: float | None = None) -> Wire:
        """A connection of the caller's own, outside of any pool. Raises `RedisFailedError`."""
        wire = self._opener.open(host, timeout_seconds)
        try:
            self.check_opened(host)
        except BaseException:
            wire.close()
            raise
        return wire

    def keep_only(self, hosts: Collection[HostAndPort]) -> None:
        """Forgets the others."""
        with self._changing:
            gone = [self._nodes.pop(host) for host in list(self._nodes) if host not in hosts]
        for node in gone:
            node.pool.drop()

    def _build(self, host: HostAndPort) -> Node:
        return Node(host, WirePool(lambda: self.open_wire(host), self._most_wires), self._monotonic)
