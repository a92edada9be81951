"""Which server has a key: the only one, the one that the Sentinels call master, or the master of the key's slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedirectedError, RedisFailedError
from app.services.state_store.redis_engine.nodes import Node, Nodes
from app.services.state_store.redis_engine.single_flight import SingleFlight
from app.services.state_store.redis_engine.wire import Wire, WireOpener


class Topology(Protocol):
    def find_node(self, key: str, wait_seconds: float) -> Node:
        """Where the key lies, as far as is known. Raises `RedisFailedError` when that has to be asked and cannot."""

    def doubt(self, node: Node) -> None:
        """The node failed: what is known may be outdated."""

    def follow(self, redirect: RedirectedError) -> Node:
        """Where a node sent us."""

    def open_listener(self) -> Wire:
        """Opens a connection on which every change is announced. Raises `RedisFailedError`."""

    def close(self) -> None:
        """Closes all connections."""


class SingleServer:
    """One server, or a name that leads to whichever server it is at the time."""

    def __init__(self, host: HostAndPort, nodes: Nodes) -> None:
        self._host = host
        self._nodes = nodes

    def find_node(self, key: str, wait_seconds: float) -> Node:  # noqa: ARG002
        return self._nodes.get(self._host)

    def doubt(self, node: Node) -> None:
        node.pool.drop()

    def follow(self, redirect: RedirectedError) -> Node:
        raise RedisFailedError(
            f"a node of a cluster answered at {redirect.host}: redis+cluster:// is needed", may_pass=False
        )

    def open_listener(self) -> Wire:
        return self._nodes.open_wire(self._host)

    def close(self) -> None:
        self._nodes.keep_only(())


class SentinelServers:
    """The master that Sentinels watch over: asked for at first, and again whenever it has failed us."""

    _SHORTEST_QUESTION_SECONDS = 0.1

    def __init__(
        self,
        sentinels: Sequence[HostAndPort],
        master_name: str,
        *,
        nodes: Nodes,
        opener: WireOpener,
        timeout_seconds: float,
    ) -> None:
        """`opener` opens connections to the Sentinels, which have credentials of their own."""
        self._sentinels = list(sentinels)
        self._master_name = master_name
        self._nodes = nodes
        self._opener = opener
        self._timeout_seconds = timeout_seconds
        self._question_seconds = max(timeout_seconds / len(sentinels), self._SHORTEST_QUESTION_SECONDS)
        self._asking = SingleFlight[HostAndPort]()
        self._master: HostAndPort | None = None

    def find_node(self, key: str, wait_seconds: float) -> Node:  # noqa: ARG002
        return self._nodes.get(self._master or self._asking.run(self._ask, wait_seconds))

    def doubt(self, node: Node) -> None:
        node.pool.drop()
        if node.host == self._master:
            self._master = None

    def follow(self, redirect: RedirectedError) -> Node:
        raise RedisFailedError(f"a node of a cluster answered at {redirect.host}", may_pass=False)

    def open_listener(self) -> Wire:
        return self._nodes.open_wire(self._asking.run(self._ask, self._timeout_seconds))

    def close(self) -> None:
        self._master = None
        self._nodes.keep_only(())

    def _ask(self) -> HostAndPort:
        """One Sentinel after the other, first the one that answered last."""
        reasons = []
        for sentinel in tuple(self._sentinels):
            try:
                master = self._ask_one(sentinel)
            except RedisFailedError as error:
                reasons.append(error.reason)
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            self._nodes.keep_only({master})
            self._master = master
            return master
        raise RedisFailedError("no Sentinel names the master: " + ", ".join(reasons))

    def _ask_one(self, sentinel: HostAndPort) -> HostAndPort:
        wire = self._opener.open(sentinel, self._question_seconds)
        try:
            named = wire.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master_name)
        finally:
            wire.close()
        if named is None:
            raise RedisFailedError(f"a master of that name is unknown at {sentinel}")
        return HostAndPort(named[0].decode(), int(named[1]))
