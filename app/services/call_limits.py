"""How often calls may come: per client address over all routes, and per caller on a route that says so.

A caller is a session; with a bearer token, a user; and where nobody is known, a client address. All workers count
together in the store. While that does not answer, each worker counts by itself, for a few seconds at a time: so a store
that is down neither lets everything pass nor keeps everybody out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from app.core.errors import StoreUnavailableError
from app.core.identity import Identity
from app.core.routes import Route
from app.observability import logs
from app.services.rate_limits import LocalLimitStorage, RateLimit, StateStoreLimitStorage, group_address
from app.services.state_store.interface import StateStore

ALONE_SECONDS = 5.0
"""How long the store is left alone once it did not answer: each attempt could take seconds of a call's time."""

_log = logs.get_logger(__name__)


class SharedLimitStorage(StateStoreLimitStorage):
    """Counts in the store, and for a while in this worker where that does not answer."""

    def __init__(self, state: StateStore, *, clock: Callable[[], float], count_store_error: Callable[[], None]) -> None:
        super().__init__(state)
        self._clock = clock
        self._count_store_error = count_store_error
        self._local = LocalLimitStorage(clock)
        self._is_alone_until = 0.0

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        if self._clock() >= self._is_alone_until:
            try:
                return super().incr(key, expiry, amount)
            except StoreUnavailableError as error:
                self._is_alone_until = self._clock() + ALONE_SECONDS
                self._count_store_error()
                _log.warning("rate_limits.counted_by_this_worker_alone", reason=error.internal_reason)
        return self._local.incr(key, expiry, amount)


class CallLimits:
    """One a worker. `limits_anybody` spares the pipeline the question where nothing is limited."""

    def __init__(
        self,
        state: StateStore,
        *,
        per_address: str,
        routes: Iterable[Route],
        clock: Callable[[], float],
        count_store_error: Callable[[], None],
    ) -> None:
        storage = SharedLimitStorage(state, clock=clock, count_store_error=count_store_error)

        def build(rate: str, name: str, refusal: str) -> RateLimit:
            return RateLimit(storage, rate, name=name, refusal=refusal, clock=clock)

        self._per_address = build(per_address, "address", "Too many calls came from here.") if per_address else None
        self._per_route: Mapping[str, RateLimit] = {
            route.id: build(route.rate_limit, f"route:{route.id}", "Too many calls of this kind.")
            for route in routes
            if route.rate_limit
        }

    @property
    def limits_anybody(self) -> bool:
        return self._per_address is not None or bool(self._per_route)

    def check(self, route: Route, client_address: str, identity: Identity | None) -> None:
        """Counts one call; raises `RateLimitedError`. Never `StoreUnavailableError`."""
        if self._per_address is not None:
            self._per_address.check(group_address(client_address))
        limit = self._per_route.get(route.id)
        if limit is not None:
            limit.check(_name_caller(client_address, identity))


def _name_caller(client_address: str, identity: Identity | None) -> str:
    if identity is None:
        return f"address:{group_address(client_address)}"
    if identity.session_reference:
        return f"session:{identity.session_reference}"
    return f"user:{identity.provider}\0{identity.user_id}"
