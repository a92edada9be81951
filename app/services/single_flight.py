"""Work that is done once for all who want it at the same time, and that goes on when they have gone away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from app.core.errors import BffError, InternalError
from app.observability import logs

Result = TypeVar("Result")

log = logs.get_logger(__name__)


class Flight(Generic[Result]):
    """One piece of work under way, and all who wait for it."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._is_over = threading.Event()
        self._results: list[Result] = []
        self._error: BffError = InternalError(internal_reason="the work ended without a result")

    def run(self) -> None:
        try:
            self._results.append(self._work())
        except BffError as error:
            self._error = error
        except Exception as error:
            log.exception("flight.crashed", error_type=type(error).__name__)
            self._error = InternalError(internal_reason=f"the work crashed with {type(error).__name__}")
        finally:
            self._is_over.set()

    def wait(self, seconds: float) -> bool:
        """Waits for the end; False when it did not come in time."""
        return self._is_over.wait(seconds)

    def get(self) -> Result:
        """Returns the result, or raises what the work raised, as an instance of the caller's own."""
        if self._results:
            return self._results[0]
        # Shared, it would gather the frames of all who raise it.
        raise type(self._error)(internal_reason=self._error.internal_reason)


class SingleFlight(Generic[Result]):
    """At most one flight per name. Each has a thread of its own (a greenlet under gevent)."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[Result]] = {}
        self._changing = threading.Lock()

    def join(self, name: Hashable, work: Callable[[], Result]) -> Flight[Result]:
        """Returns the flight of this name that is under way, or starts one."""
        with self._changing:
            flight = self._flights.get(name)
            if flight is not None:
                return flight
            flight = self._flights[name] = Flight(work)
        threading.Thread(target=self._fly, args=(name, flight), daemon=True, name="flight").start()
        return flight

    def _fly(self, name: Hashable, flight: Flight[Result]) -> None:
        try:
            flight.run()
        finally:
            with self._changing:
                del self._flights[name]
