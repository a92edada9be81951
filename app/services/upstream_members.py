"""The equal backends of one service: calls take turns among them, and who fails is left alone for a while.

Health is known by outcome; nobody is probed. A backend that takes no connection is set aside at once, one that takes it
and gives no answer after as many failures in a row as open the service's circuit breaker. Once `reset_seconds` are
over, one call is its trial (half-open). Where all are set aside, each call tries one of them nevertheless, and only
then do failures count for the circuit breaker of the service, which says when to stop trying.
"""

from __future__ import annotations

import functools
import itertools
import ssl
from collections.abc import Callable, Collection, Iterator

from app.core.errors import CircuitOpenError
from app.core.routes import Service
from app.observability import logs
from app.services.circuit_breaker import CircuitBreaker
from app.services.upstream_connection import Origin, build_tls_context, open_connection, parse_origin
from app.services.upstream_pool import UpstreamPool

_log = logs.get_logger(__name__)


class UpstreamMember:
    """One backend: where it is, the connections to it, and what is known of its health.

    One that is alone is never set aside: nobody could stand in for it.
    """

    __slots__ = ("_health", "_is_alone", "_service_name", "origin", "pool")

    def __init__(self, service: Service, base_url: str, monotonic: Callable[[], float]) -> None:
        self.origin: Origin = parse_origin(base_url)
        tls: ssl.SSLContext | None = build_tls_context(service) if self.origin.scheme == "https" else None
        connect = functools.partial(open_connection, self.origin, tls, service.connect_timeout_seconds, monotonic)
        self.pool = UpstreamPool(connect, service.max_connections, service.connect_timeout_seconds, monotonic)
        self._health = CircuitBreaker(service.breaker_failures, service.breaker_reset_seconds, monotonic)
        self._service_name = service.name
        self._is_alone = len(service.base_urls) == 1

    @property
    def is_aside(self) -> bool:
        return self._health.is_open

    def admit(self) -> bool:
        """Returns whether this call is its trial; raises `CircuitOpenError` while it is to be left alone."""
        return self._health.admit()

    def note_answer(self, is_trial: bool) -> None:
        if self._is_alone:
            return
        was_aside = self._health.is_open
        self._health.succeed(is_trial)
        if was_aside and not self._health.is_open:
            _log.info("upstream.member_returned", service=self._service_name, backend=self.origin.host_header)

    def note_failure(self, is_trial: bool, *, took_no_connection: bool) -> None:
        if self._is_alone:
            return
        was_aside = self._health.is_open
        self._health.fail(is_trial, at_once=took_no_connection)
        if self._health.is_open and not was_aside:
            _log.warning("upstream.member_set_aside", service=self._service_name, backend=self.origin.host_header)

    def note_nothing(self, is_trial: bool) -> None:
        """The call ended for a reason that says nothing about this backend."""
        self._health.abandon(is_trial)


class UpstreamMembers:
    """All backends of one service."""

    def __init__(self, service: Service, monotonic: Callable[[], float]) -> None:
        self._members = [UpstreamMember(service, base_url, monotonic) for base_url in service.base_urls]
        self._turns = itertools.count()

    def __iter__(self) -> Iterator[UpstreamMember]:
        return iter(self._members)

    def take_turn(self) -> int:
        """Returns where a call begins to look."""
        return next(self._turns)

    def choose(self, turn: int, tried: Collection[UpstreamMember]) -> tuple[UpstreamMember, bool]:
        """Returns a backend, one that was not `tried` if there is any, and whether the call is its trial.

        The caller notes the outcome at the member, exactly once.
        """
        if len(self._members) == 1:
            return self._members[0], False
        untried = [member for member in self._in_order(turn) if member not in tried]
        for member in untried:
            try:
                return member, member.admit()
            except CircuitOpenError:
                continue
        # Whatever comes of it is newer than what set it aside, so it decides as a trial does.
        chosen = (untried or self._in_order(turn))[0]
        return chosen, chosen.is_aside

    def has_well_one(self) -> bool:
        """Whether one of several is not set aside."""
        return len(self._members) > 1 and not all(member.is_aside for member in self._members)

    def has_untried(self, tried: Collection[UpstreamMember]) -> bool:
        return len(tried) < len(self._members)

    def _in_order(self, turn: int) -> list[UpstreamMember]:
        first = turn % len(self._members)
        return self._members[first:] + self._members[:first]
