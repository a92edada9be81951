"""Sends commands to where their keys lie, again where that is safe and of use, and never for longer than allowed.

Whatever goes wrong ends as `StoreUnavailableError`: nothing here can look like "not there".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.core.errors import StoreUnavailableError
from app.services.state_store.redis_engine.failures import (
    RedirectedError,
    RedisFailedError,
    ScriptUnknownError,
    UnclearOutcomeError,
)
from app.services.state_store.redis_engine.nodes import Node
from app.services.state_store.redis_engine.replication import Replication
from app.services.state_store.redis_engine.scripts import Command
from app.services.state_store.redis_engine.topology import Topology
from app.services.state_store.redis_engine.wire import Argument, Reply, Wire

_MOST_REDIRECTS = 5
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """Each wait of an attempt takes `timeout_seconds` at most, and no attempt begins when the total is used up."""

    timeout_seconds: float
    retries: int

    @property
    def total_seconds(self) -> float:
        return self.timeout_seconds * (self.retries + 1)


class RedisCaller:
    """One a worker."""

    def __init__(
        self,
        topology: Topology,
        budget: Budget,
        replication: Replication,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._topology = topology
        self._budget = budget
        self._replication = replication
        self._monotonic = monotonic
        self._sleep = sleep

    def call(self, operation: str, command: Command, *, durable: bool = False) -> Reply:
        """Raises `StoreUnavailableError`, and of its kind `UnclearOutcomeError` if an attempt may have had an effect;
        `operation` names it in the reason."""
        give_up_at = self._monotonic() + self._budget.total_seconds
        attempt, is_unclear = 0, False
        while True:
            try:
                return self._attempt(command, give_up_at, durable=durable)
            except RedisFailedError as failure:
                pause_seconds, is_unclear = _choose_pause(attempt), is_unclear or failure.may_have_run
                if not self._may_retry(command, failure, attempt, give_up_at - pause_seconds):
                    error_class = UnclearOutcomeError if is_unclear else StoreUnavailableError
                    raise error_class(internal_reason=f"{operation}: {failure.reason}") from None
            attempt += 1
            self._sleep(pause_seconds)

    def look(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands that only read, to each node its own in one go. Nothing is tried again: None stands for a
        reply that did not come, or was an error."""
        replies: list[Reply] = [None] * len(commands)
        for node, numbers in self._sort_by_node(commands).items():
            found = self._look_at(node, [commands[number].words for number in numbers])
            for number, reply in zip(numbers, found, strict=True):
                replies[number] = reply
        return replies

    def _sort_by_node(self, commands: Sequence[Command]) -> dict[Node, list[int]]:
        by_node: dict[Node, list[int]] = {}
        try:
            for number, command in enumerate(commands):
                node = self._topology.find_node(command.key, self._budget.timeout_seconds)
                by_node.setdefault(node, []).append(number)
        except RedisFailedError:
            pass  # who cannot say where one lies does not know of the others either
        return by_node

    def _look_at(self, node: Node, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
        try:
            wire = node.pool.take(self._budget.timeout_seconds)
            try:
                return wire.call_together(commands)
            finally:
                node.pool.give_back(wire)
        except RedisFailedError as failure:
            if failure.is_node_in_doubt:
                self._topology.doubt(node)
            return [None] * len(commands)

    def _may_retry(self, command: Command, failure: RedisFailedError, attempt: int, give_up_at: float) -> bool:
        if attempt >= self._budget.retries or self._monotonic() >= give_up_at:
            return False
        return failure.may_pass and (command.can_be_repeated or not failure.may_have_run)

    def _attempt(self, command: Command, give_up_at: float, *, durable: bool) -> Reply:
        wait_seconds = min(self._budget.timeout_seconds, give_up_at - self._monotonic())
        node, for_once = self._topology.find_node(command.key, wait_seconds), False
        for _ in range(_MOST_REDIRECTS):
            try:
                return self._exchange(node, command, wait_seconds, asking=for_once, durable=durable)
            except RedirectedError as redirect:
                node, for_once = self._topology.follow(redirect), redirect.for_once
        raise RedisFailedError("MOVED from node to node without end")

    def _exchange(self, node: Node, command: Command, wait_seconds: float, *, asking: bool, durable: bool) -> Reply:
        try:
            wire = node.pool.take(wait_seconds)
            try:
                reply = _send(wire, command, asking=asking)
                if durable:
                    self._replication.wait(node, wire)
                return reply
            finally:
                node.pool.give_back(wire)
        except RedisFailedError as failure:
            if failure.is_node_in_doubt:
                self._topology.doubt(node)
            raise


def _send(wire: Wire, command: Command, *, asking: bool) -> Reply:
    try:
        return _send_words(wire, command.words, asking=asking)
    except ScriptUnknownError:
        return _send_words(wire, command.words_with_source, asking=asking)


def _send_words(wire: Wire, words: tuple[bytes | str | int, ...], *, asking: bool) -> Reply:
    if asking:
        wire.call("ASKING")
    return wire.call(*words)


def _choose_pause(attempt: int) -> float:
    """Grows, and differs from caller to caller: those that failed together do not come back together."""
    longest_seconds: float = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
    return longest_seconds * random.uniform(0.5, 1)  # noqa: S311
