"""Many ask at once, one does the work, all get what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from app.services.state_store.redis_engine.failures import RedisFailedError

_Result = TypeVar("_Result")


class SingleFlight(Generic[_Result]):
    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._running: Future[_Result] | None = None

    def run(self, work: Callable[[], _Result], wait_seconds: float) -> _Result:
        """Raises what the work raised, or `RedisFailedError` when somebody else's work takes too long."""
        with self._starting:
            running = self._running
            if running is None:
                mine = self._running = Future()
        if running is None:
            return self._run(work, mine)
        try:
            return running.result(max(wait_seconds, 0))
        except TimeoutError:
            raise RedisFailedError("where the data lies was not found out in time") from None

    def _run(self, work: Callable[[], _Result], mine: Future[_Result]) -> _Result:
        try:
            result = work()
        except BaseException as error:
            self._running = None
            # Who was killed while working leaves those who wait with a failure of theirs, not with its own end.
            is_failure = isinstance(error, RedisFailedError)
            mine.set_exception(error if is_failure else RedisFailedError("the lookup was broken off"))
            raise
        self._running = None
        mine.set_result(result)
        return result
