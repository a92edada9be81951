"""The session stores of two workers, and a store that a test can watch and let fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.services.session_store import SessionStore
from app.services.session_store.keys import build_session_key, build_session_record_name
from app.services.state_store import StateStore
from tests.support.processes import wait_until
from tests.unit.services.session_store.support import ABSOLUTE, KEY_RING, build_settings
from tests.unit.services.state_store.engines import Engine, SteppedClock


@pytest.fixture
def sessions(state: StateStore, clock: SteppedClock) -> SessionStore:
    return SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)


@pytest.fixture
def other_worker(engine: Engine, place: str, clock: SteppedClock) -> Iterator[SessionStore]:
    store = engine.open(place, clock)
    store.start()
    yield SessionStore(store, KEY_RING, settings=build_settings(), clock=clock)
    store.close()


def has_heard(engine: Engine, condition: Callable[[], bool]) -> bool:
    """Whether a worker knows of what another one did: with a directory at once, with Redis once word has come. The
    clock stands still, so no copy goes because of its age."""
    if engine.name == "directory":
        return condition()
    wait_until(condition, timeout_seconds=5, what="word of another worker")
    return True


class Watched:
    """A store that does what its engine does, and lets a test count, act in between, or let something fail."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self.calls: list[str] = []
        self.said: list[object] = []
        self.durable: list[str] = []
        self.before: dict[str, Callable[[str], object]] = {}

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._state, name)

        def watched(key: str, *arguments: object, **more: object) -> object:
            self.calls.append(f"{name} {key.partition(':')[0]}")
            self.said += [key, *arguments]
            self.durable += [self.calls[-1]] if more.get("durable") else []
            for call in (name, self.calls[-1]):
                if call in self.before:
                    self.before[call](key)
            return operation(key, *arguments, **more)

        return watched


@pytest.fixture
def watched(state: StateStore) -> Watched:
    return Watched(state)


@pytest.fixture
def watched_sessions(watched: Watched, clock: SteppedClock) -> SessionStore:
    return SessionStore(watched, KEY_RING, settings=build_settings(), clock=clock)


def refuse(_: str) -> None:
    raise StoreUnavailableError(internal_reason="the disk is full")


def keep_for_longer(state: StateStore, session_id: str) -> None:
    """Has the store keep a session's record beyond the end of the session."""
    name = build_session_record_name(build_session_key(session_id))
    stored = state.find(name)
    assert stored is not None
    state.put(name, stored.value, 10 * ABSOLUTE)
