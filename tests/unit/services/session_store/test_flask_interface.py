"""Flask's session as a view of the record: lazy, read-only, and with cookies that browsers heed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.core.cross_site import build_csrf_token
from app.core.errors import BffError, StoreUnavailableError
from app.services.session_store import SessionStore, build_session_key
from app.services.session_store.flask_interface import BffSession, StoreSessionInterface, get_session
from app.services.session_store.keys import build_session_record_name
from app.services.state_store import StateStore
from app.settings import Settings
from tests.unit.services.session_store.support import KEY_RING, MALFORMED, build_login
from tests.unit.services.session_store.workers import Watched, refuse
from tests.unit.services.state_store.engines import SteppedClock

NAME = "__Host-Http-bff_session"
SESSION_FLAGS = {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}
CSRF_FLAGS = {"Path=/", "Secure", "SameSite=Strict"}
DELETION = {"Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"}


def build_settings(**session: Any) -> Settings:
    return Settings.model_validate(
        {
            "server": {"public_url": "https://app.example.com"},
            "oidc": {"issuer": "https://op.example.com"},
            "session": session,
        }
    )


class Site:
    """A small application over a store that can be watched."""

    def __init__(self, watched: Watched, clock: SteppedClock, settings: Settings) -> None:
        self.watched = watched
        self.sessions = SessionStore(watched, KEY_RING, settings=settings.session, clock=clock)
        self.app = Flask(__name__)
        self.app.config["PROPAGATE_EXCEPTIONS"] = False
        self.interface = StoreSessionInterface(self.app, self.sessions, settings=settings)
        self.app.session_interface = self.interface
        self.app.register_error_handler(BffError, lambda error: ({"code": error.code}, error.status))
        self.action: Callable[[BffSession], object] = lambda session: session.record
        self.app.add_url_rule("/look", view_func=self._look)
        self.app.add_url_rule("/ignore", view_func=lambda: "ignored")

    def _look(self) -> dict[str, str]:
        return {"seen": repr(self.action(get_session()))}

    def call(self, cookie: str | None = None, path: str = "/look") -> TestResponse:
        client: FlaskClient = self.app.test_client(use_cookies=False)
        self.watched.calls.clear()
        return client.get(path, headers={"Cookie": cookie} if cookie is not None else {})

    def seen(self, action: Callable[[BffSession], object], cookie: str | None = None) -> object:
        found: list[object] = []
        self.action = lambda session: found.append(action(session))
        assert self.call(cookie).status_code == 200
        return found[0]


@pytest.fixture
def site(state: StateStore, clock: SteppedClock) -> Site:
    return Site(Watched(state), clock, build_settings())


@pytest.fixture
def logged_in(site: Site) -> str:
    """The cookie header of a live session."""
    return f"{NAME}={site.sessions.create(build_login())[0]}"


def split_cookies(answer: TestResponse) -> Iterator[tuple[str, str, set[str]]]:
    for line in answer.headers.getlist("Set-Cookie"):
        pair, *flags = line.split("; ")
        name, _, value = pair.partition("=")
        yield name, value, set(flags)


# Reading


def test_a_request_that_does_not_look_at_the_session_reads_nothing(site: Site, logged_in: str) -> None:
    answer = site.call(logged_in, "/ignore")
    assert answer.status_code == 200
    assert site.watched.calls == []
    assert "Vary" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_the_record_is_read_once_in_a_request_and_never_written_back(site: Site, logged_in: str) -> None:
    site.action = lambda session: [session.record for _ in range(5)]
    answer = site.call(logged_in)
    assert site.watched.calls == ["find session"]
    assert answer.headers["Vary"] == "Cookie"
    assert "Set-Cookie" not in answer.headers


def test_a_view_sees_who_is_logged_in(site: Site, logged_in: str) -> None:
    record = site.seen(lambda session: session.record, logged_in)
    assert record is not None
    assert record == site.sessions.find(logged_in.partition("=")[2])
    assert site.seen(lambda session: session.session_id, logged_in) == logged_in.partition("=")[2]
    assert site.seen(lambda session: session.presented, logged_in) is True
    assert site.seen(bool, logged_in) is True


@pytest.mark.parametrize("cookie", [None, "other=x", f"x{NAME}=y", "bff_session=" + "a" * 43])
def test_without_the_cookie_nobody_is_logged_in(site: Site, cookie: str | None) -> None:
    assert site.seen(lambda session: (session.presented, session.session_id, session.record), cookie) == (
        False,
        None,
        None,
    )
    assert site.seen(bool, cookie) is False
    assert site.watched.calls == []


@pytest.mark.parametrize(
    "session_id",
    [value for value in MALFORMED.values() if value.isascii() and value.isprintable()] + ["a" * 43],
)
def test_a_bad_cookie_is_presented_but_nobody_and_stays_where_it_is(site: Site, session_id: str) -> None:
    """L19. The refusal is the caller's; no cookie is set or cleared."""
    assert site.seen(lambda session: (session.presented, session.record), f"{NAME}={session_id}") == (True, None)
    answer = site.call(f"{NAME}={session_id}")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


def test_two_values_for_the_cookie_are_refused_once_somebody_looks(site: Site, logged_in: str) -> None:
    twice = f"{logged_in}; {NAME}={'b' * 43}"
    for action in (lambda s: s.record, lambda s: s.presented, lambda s: s.session_id):
        site.action = action
        answer = site.call(twice)
        assert (answer.status_code, answer.json) == (400, {"code": "bad_request"})
    assert site.watched.calls == []
    assert site.call(twice, "/ignore").status_code == 200
    site.action = lambda session: session.record
    assert site.call(f"{logged_in}; {logged_in}").status_code == 200


def test_a_store_that_fails_reaches_the_error_handler_and_leaves_the_cookie(site: Site, logged_in: str) -> None:
    site.watched.before["find"] = refuse
    answer = site.call(logged_in)
    assert (answer.status_code, answer.json) == (503, {"code": StoreUnavailableError.code})
    assert "Set-Cookie" not in answer.headers
    site.watched.before.clear()
    assert site.call(logged_in).status_code == 200


def test_a_record_is_never_unpickled(site: Site, state: StateStore, logged_in: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("a pickle was loaded",))

    name = build_session_record_name(build_session_key(logged_in.partition("=")[2]))
    state.put(name, KEY_RING.seal(pickle.dumps(Bomb()), name), 60)
    assert site.seen(lambda session: session.record, logged_in) is None
    assert site.interface.serializer is None


# Cookies


def test_a_started_session_sets_both_cookies(site: Site) -> None:
    session_id, record = site.sessions.create(build_login())

    def start(session: BffSession) -> object:
        session.start(session_id, record)
        return session.record

    site.action = start
    answer = site.call()
    assert list(split_cookies(answer)) == [
        (NAME, session_id, SESSION_FLAGS),
        ("bff_csrf", build_csrf_token(session_id), CSRF_FLAGS),
    ]
    assert site.watched.calls == [], "the record is known"


def test_an_ended_session_clears_both_cookies_with_the_flags_they_were_set_with(site: Site, logged_in: str) -> None:
    def end(session: BffSession) -> object:
        session.end()
        return session.record, session.session_id

    site.action = end
    answer = site.call(logged_in)
    assert list(split_cookies(answer)) == [
        (NAME, "", SESSION_FLAGS | DELETION),
        ("bff_csrf", "", CSRF_FLAGS | DELETION),
    ]
    assert answer.json == {"seen": "(None, None)"}
    assert site.watched.calls == [], "ending it in the store is SessionStore's, which may fail"


def test_the_last_word_of_start_and_end_counts(site: Site) -> None:
    session_id, record = site.sessions.create(build_login())

    def end_then_start(session: BffSession) -> None:
        session.end()
        session.start(session_id, record)

    def start_then_end(session: BffSession) -> None:
        session.start(session_id, record)
        session.end()

    site.action = end_then_start
    assert next(value for _, value, _ in split_cookies(site.call())) == session_id
    site.action = start_then_end
    assert [value for _, value, _ in split_cookies(site.call())] == ["", ""]


def test_cookies_follow_the_settings(state: StateStore, clock: SteppedClock) -> None:
    settings = build_settings(cookie={"name": "sid", "domain": "example.com", "same_site": "Lax"})
    site = Site(Watched(state), clock, settings)
    session_id, record = site.sessions.create(build_login())
    site.action = lambda session: session.start(session_id, record)
    (name, _, flags), (_, _, csrf_flags) = split_cookies(site.call())
    assert name == "__Secure-sid"
    assert flags == {"Path=/", "Domain=example.com", "Secure", "HttpOnly", "SameSite=Lax"}
    assert csrf_flags == {"Path=/", "Domain=example.com", "Secure", "SameSite=Lax"}


# What Flask-Session would do on its own


def test_nothing_can_be_put_into_the_session(site: Site, logged_in: str) -> None:
    with site.app.test_request_context("/look", headers={"Cookie": logged_in}):
        for change in (
            lambda: flask.session.__setitem__("basket", ["x"]),
            lambda: flask.session.setdefault("basket", []),
            lambda: flask.session.update(basket=[]),
            lambda: flask.flash("hello"),
        ):
            with pytest.raises(TypeError, match="nothing else"):
                change()


def test_ids_are_not_regenerated_and_records_not_written_by_the_interface(site: Site) -> None:
    with pytest.raises(TypeError):
        site.interface.regenerate(BffSession(lambda: None, lambda _: None))
    with pytest.raises(TypeError):
        site.interface._upsert_session(timedelta(hours=1), BffSession(lambda: None, lambda _: None), "x")


def test_the_interface_reads_and_deletes_for_flask_session(site: Site) -> None:
    session_id, record = site.sessions.create(build_login())
    found = site.interface._retrieve_session_data(session_id)
    assert found is not None
    assert found["user_id"] == record.user_id
    site.interface._delete_session(session_id)
    assert site.interface._retrieve_session_data(session_id) is None


def test_no_id_is_in_a_repr(site: Site, logged_in: str) -> None:
    assert site.seen(repr, logged_in) == "<BffSession>"
