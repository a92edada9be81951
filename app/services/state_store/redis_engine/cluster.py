"""The masters of a Redis Cluster.

What a node says about a slot (MOVED) is believed at once; when a node fails, the others are asked where all slots lie.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedirectedError, RedisFailedError
from app.services.state_store.redis_engine.nodes import Node, Nodes
from app.services.state_store.redis_engine.single_flight import SingleFlight
from app.services.state_store.redis_engine.wire import Reply, Wire

_Result = TypeVar("_Result")
_Masters: TypeAlias = list[HostAndPort | None]  # by slot

_PAUSE_SECONDS = 0.1
"""Slots are asked for at most this often."""
_SHORTEST_QUESTION_SECONDS = 0.1
_NODES_ASKED_IN_TIME = 4


class ClusterServers:
    """A `Topology`. `seeds` are nodes that know the others; they need not be masters, nor all be up."""

    def __init__(
        self,
        seeds: Sequence[HostAndPort],
        *,
        nodes: Nodes,
        timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seeds = frozenset(seeds)
        self._nodes = nodes
        self._timeout_seconds = timeout_seconds
        self._question_seconds = max(timeout_seconds / _NODES_ASKED_IN_TIME, _SHORTEST_QUESTION_SECONDS)
        self._monotonic = monotonic
        self._asking = SingleFlight[None]()
        self._masters: _Masters = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._is_in_doubt = True
        self._ask_again_at = float("-inf")

    def find_node(self, key: str, wait_seconds: float) -> Node:
        if self._is_in_doubt and self._monotonic() >= self._ask_again_at:
            self._asking.run(self._ask, wait_seconds)
        master = self._masters[key_slot(key.encode())]
        if master is None:
            self._is_in_doubt = True
            raise RedisFailedError("no node of the cluster is known to have the slot")
        return self._nodes.get(master)

    def doubt(self, node: Node) -> None:
        node.pool.drop()
        self._is_in_doubt = True

    def follow(self, redirect: RedirectedError) -> Node:
        if not redirect.for_once:
            self._masters[redirect.slot] = redirect.host
            self._is_in_doubt = True  # where one slot went, others may have gone
        return self._nodes.get(redirect.host)

    def open_listener(self) -> Wire:
        """Any node will do: the cluster hands every announcement on to all of them."""
        return self._try_each(lambda host: self._nodes.open_wire(host, self._question_seconds))

    def hears_all(self, host: HostAndPort) -> bool:  # noqa: ARG002
        return True

    def close(self) -> None:
        self._is_in_doubt = True
        self._nodes.keep_only(())

    def _ask(self) -> None:
        self._ask_again_at = self._monotonic() + _PAUSE_SECONDS
        masters = self._try_each(self._ask_one)
        self._masters = masters
        self._is_in_doubt = False
        self._nodes.keep_only({master for master in masters if master})

    def _ask_one(self, host: HostAndPort) -> _Masters:
        wire = self._nodes.open_wire(host, self._question_seconds)
        try:
            return _parse_slots(wire.call("CLUSTER", "SLOTS"), host)
        finally:
            wire.close()

    def _try_each(self, attempt: Callable[[HostAndPort], _Result]) -> _Result:
        """In an order of chance, until one succeeds or the time is over."""
        hosts = list({*(master for master in self._masters if master), *self._seeds})
        random.shuffle(hosts)
        give_up_at = self._monotonic() + self._timeout_seconds
        reasons = []
        for host in hosts:
            try:
                return attempt(host)
            except RedisFailedError as error:
                reasons.append(error.reason)
            if self._monotonic() >= give_up_at:
                break
        raise RedisFailedError("no node of the cluster answers: " + ", ".join(reasons))


def _parse_slots(reply: Reply, asked: HostAndPort) -> _Masters:
    """Of `[[first, last, [host, port, …], replica…], …]`; a host that the node does not know is its own."""
    masters: _Masters = [None] * REDIS_CLUSTER_HASH_SLOTS
    for first, last, (host, port, *_), *_replicas in reply:
        name = (host or b"").decode()
        master = HostAndPort(asked.host if name in ("", "?") else name, port)
        masters[first : last + 1] = [master] * (last + 1 - first)
    return masters
