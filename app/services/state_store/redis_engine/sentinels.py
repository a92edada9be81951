"""The master that Sentinels watch over.

It is asked for every second while there are calls, not only when it fails: in a planned switch of roles the old master
goes on for seconds as if nothing had happened, and what is written there is lost. When it fails it is asked for before
the next connection: a master that was replaced may be up again, with nothing or with what was, and takes itself for the
master for a while. Whoever believes it finds no sessions, or spends refresh tokens that were spent. And because it may
come up between the answer and the connection, they are asked once more when the connection is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.failures import RedirectedError, RedisFailedError
from app.services.state_store.redis_engine.nodes import Node, Nodes
from app.services.state_store.redis_engine.single_flight import SingleFlight
from app.services.state_store.redis_engine.wire import Wire, WireOpener

_ASKED_EVERY_SECONDS = 1.0
_LEFT_ALONE_FOR_SECONDS = 5.0
"""When none of them answered: each time that costs one call its wait."""
_SHORTEST_QUESTION_SECONDS = 0.1

_log = structlog.get_logger(__name__)


class SentinelServers:
    """A `Topology`. `opener` opens connections to the Sentinels, which have credentials of their own."""

    def __init__(
        self,
        sentinels: Sequence[HostAndPort],
        master_name: str,
        *,
        nodes: Nodes,
        opener: WireOpener,
        timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sentinels = list(sentinels)
        self._master_name = master_name
        self._nodes = nodes
        self._opener = opener
        self._timeout_seconds = timeout_seconds
        self._question_seconds = max(timeout_seconds / len(sentinels), _SHORTEST_QUESTION_SECONDS)
        self._monotonic = monotonic
        self._asking = SingleFlight[HostAndPort]()
        self._master: HostAndPort | None = None
        self._told_master: HostAndPort | None = None
        self._ask_again_at = float("-inf")
        self._left_alone_until = float("-inf")
        self._is_in_doubt = False
        self._asked_at = float("-inf")
        self._checking = threading.Lock()
        nodes.check_opened = self._check_opened

    def find_node(self, key: str, wait_seconds: float) -> Node:  # noqa: ARG002
        master = self._master
        now = self._monotonic()
        if master is None:
            master = self._asking.run(self._ask, wait_seconds)
        elif self._is_in_doubt and now >= self._left_alone_until:  # everybody waits for the answer
            master = self._asking.run(partial(self._ask_again, master), wait_seconds)
        elif now >= max(self._ask_again_at, self._left_alone_until):  # one caller asks, the others go on
            master = self._ask_again(master)
        return self._nodes.get(master)

    def doubt(self, node: Node) -> None:
        node.pool.drop()
        self._is_in_doubt = True

    def follow(self, redirect: RedirectedError) -> Node:
        raise RedisFailedError(
            f"a node of a cluster answered at {redirect.host}: redis+cluster:// is needed", may_pass=False
        )

    def open_listener(self) -> Wire:
        return self._nodes.open_wire(self._asking.run(self._ask, self._timeout_seconds))

    def hears_all(self, host: HostAndPort) -> bool:
        return self._master in (host, None)

    def close(self) -> None:
        self._master = None
        self._nodes.keep_only(())

    def _ask_again(self, known: HostAndPort) -> HostAndPort:
        """Sentinels that do not answer are no reason to leave a master that does."""
        self._ask_again_at = self._monotonic() + _ASKED_EVERY_SECONDS
        self._is_in_doubt = False  # first: the answer says nothing about failures that come after the question
        try:
            return self._ask()
        except RedisFailedError:
            self._left_alone_until = self._monotonic() + _LEFT_ALONE_FOR_SECONDS
            self._is_in_doubt = True
            return known

    def _check_opened(self, host: HostAndPort) -> None:
        """Those who connected at the same time share one question: it has to begin after they had connected."""
        connected_at = self._monotonic()
        with self._checking:
            if connected_at < self._left_alone_until:
                return
            master = self._master
            if master is None or self._asked_at < connected_at:
                master = self._ask_again(host)
        if master != host:
            raise RedisFailedError(f"{host} is not the master any more")

    def _ask(self) -> HostAndPort:
        """One Sentinel after the other, first the one that answered last."""
        began_at = self._monotonic()
        reasons = []
        for sentinel in tuple(self._sentinels):
            try:
                master = self._ask_one(sentinel)
            except RedisFailedError as error:
                reasons.append(error.reason)
                continue
            self._sentinels.sort(key=sentinel.__ne__)  # stable: it comes first
            self._settle_on(master)
            self._asked_at = began_at
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

    def _settle_on(self, master: HostAndPort) -> None:
        self._ask_again_at = self._monotonic() + _ASKED_EVERY_SECONDS
        if master != self._told_master:
            self._told_master = master
            _log.info("store.master_found", server=str(master))
        self._nodes.keep_only({master})
        self._master = master
