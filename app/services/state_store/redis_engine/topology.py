"""Which server has a key: the only one, the one that Sentinels call master, or the master of the key's slot."""

from __future__ import annotations

from typing import Protocol

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedirectedError, RedisFailedError
from app.services.state_store.redis_engine.nodes import Node, Nodes
from app.services.state_store.redis_engine.wire import Wire


class Topology(Protocol):
    def find_node(self, key: str, wait_seconds: float) -> Node:
        """Where the key lies, as far as is known. Raises `RedisFailedError` when that has to be asked and cannot."""

    def doubt(self, node: Node) -> None:
        """The node failed: what is known may be outdated."""

    def follow(self, redirect: RedirectedError) -> Node:
        """Where a node sent us."""

    def open_listener(self) -> Wire:
        """Opens a connection on which every change is announced. Raises `RedisFailedError`."""

    def hears_all(self, host: HostAndPort) -> bool:
        """Whether what is announced anywhere is heard at this host, as far as is known."""

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

    def hears_all(self, host: HostAndPort) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        self._nodes.keep_only(())
