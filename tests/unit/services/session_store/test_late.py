"""What comes late while a session ends, at whatever moment of it, brings nothing back. Held against every engine."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from app.services.session_store import SessionCatalogue, SessionRecord, SessionStore
from app.services.session_store.keys import build_session_record_name, build_tokens_record_name
from app.services.state_store import StateStore
from app.services.token_store import TokenSet, TokenStore
from tests.unit.services.session_store.support import KEY_RING, TOUCH, build_login, build_settings
from tests.unit.services.session_store.workers import Watched
from tests.unit.services.state_store.engines import SteppedClock

OLD, NEW = TokenSet("access-1", "Bearer", refresh_token="refresh-1"), TokenSet("access-2", "Bearer")
AFTERWARDS = "afterwards"
MOMENTS = [
    "find session",
    "put tombstone",
    "delete session",
    "delete tokens",
    "remove_member sessions-of-shard",
    "remove_member sessions-of-user",
    "remove_member sessions-of-sid",
    AFTERWARDS,
]


class SlowRequest:
    """A request on another worker that has read session and tokens before the end, and goes on after it."""

    def __init__(self, state: StateStore, clock: SteppedClock, session_id: str) -> None:
        self.sessions = SessionStore(state, KEY_RING, settings=build_settings(), clock=clock)
        self.tokens = TokenStore(state, KEY_RING, clock=time.time)
        self.session_id = session_id
        self.key = self.sessions.session_key(session_id)
        assert self.tokens.save(self.key, OLD, 600)
        found, stored = self.sessions.find(session_id), self.tokens.find_stored(self.key)
        assert found is not None
        assert stored is not None
        self.record: SessionRecord = found
        self.stored = stored

    def touch(self) -> None:
        self.sessions.touch(self.session_id, self.record)

    def save_tokens(self) -> None:
        self.tokens.save(self.key, NEW, 600)

    def replace_tokens(self) -> None:
        self.tokens.replace(self.key, self.stored, NEW, 600)

    def touch_and_renew(self) -> None:
        self.touch()
        self.replace_tokens()


LATE: dict[str, Callable[[SlowRequest], None]] = {
    "a-touch": SlowRequest.touch,
    "tokens-of-a-login": SlowRequest.save_tokens,
    "tokens-of-a-refresh": SlowRequest.replace_tokens,
    "a-whole-request": SlowRequest.touch_and_renew,
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_comes_late_brings_nothing_back(
    state: StateStore, clock: SteppedClock, moment: str, late: Callable[[SlowRequest], None]
) -> None:
    watched = Watched(state)
    sessions = SessionStore(watched, KEY_RING, settings=build_settings(), clock=clock)
    session_id, _ = sessions.create(build_login())
    request = SlowRequest(state, clock, session_id)
    clock.step(TOUCH)
    happened: list[str] = []

    def act(_: str = "") -> None:
        happened.append(moment)
        late(request)

    if moment != AFTERWARDS:
        watched.before[moment] = act
    sessions.end(session_id)
    watched.before.clear()
    if moment == AFTERWARDS:
        act()

    assert happened == [moment]
    assert state.find(build_session_record_name(request.key)) is None
    assert state.find(build_tokens_record_name(request.key)) is None
    assert sessions.find(session_id) is None
    assert request.tokens.find_stored(request.key) is None
    assert SessionCatalogue(sessions).list_of_user("alice") == []
    assert SessionCatalogue(sessions).list_all() == []
