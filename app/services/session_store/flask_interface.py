"""Flask's `session`, on Flask-Session's interface: a view of one session record, never a place to put things.

What Flask-Session does on its own is not done here: reading the store for every request that has a cookie, writing the
session back after it, decoding pickles, giving a deletion cookie without flags, making ids up for unknown cookies. The
record is read when a view first asks for it, so errors rise where the error handlers can see them. Cookies change only
by `start` and `end`: no other answer, a 401 least of all, touches them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NoReturn, cast

from flask import Flask, Request, Response
from flask import session as flask_session
from flask_session.base import ServerSideSession, ServerSideSessionInterface
from msgspec.structs import asdict

from app.core.cookies import (
    CSRF_COOKIE_NAME,
    build_delete_cookie,
    build_set_cookie,
    parse_single_session_cookie,
    session_cookie_name,
)
from app.core.cross_site import build_csrf_token
from app.services.session_store.record import SessionRecord
from app.services.session_store.store import SessionStore
from app.settings import Settings

_SESSION_ID_BYTES = 32


class BffSession(ServerSideSession):  # type: ignore[misc]  # the package has no types
    """What `flask.session` is. `session_id` is the cookie's value, whoever sent it: only `record` says it is good."""

    def __init__(self, read_cookie: Callable[[], str | None], find: Callable[[str], SessionRecord | None]) -> None:
        super().__init__()
        self._read_cookie = read_cookie
        self._find = find
        self._record: SessionRecord | None = None
        self._is_loaded = False
        self.started_id: str | None = None
        self.has_been_ended = False

    @property
    def session_id(self) -> str | None:
        """Raises `BadRequestError` when the request has session cookies of different values."""
        if self.started_id is not None or self.has_been_ended:
            return self.started_id
        return self._read_cookie()

    @property
    def presented(self) -> bool:
        """Whether a session cookie came with the request, good or not. Raises `BadRequestError` as `session_id`."""
        return self._read_cookie() is not None

    @property
    def record(self) -> SessionRecord | None:
        """The session, or None without a good cookie. Raises `BadRequestError` and `StoreUnavailableError`."""
        if not self._is_loaded:
            session_id = self.session_id
            self._record = None if session_id is None else self._find(session_id)
            self._is_loaded = True
        return self._record

    @property
    def loaded_record(self) -> SessionRecord | None:
        """The session as far as this request has looked already; does not look by itself."""
        return self._record

    def start(self, session_id: str, record: SessionRecord) -> None:
        """Gives the browser the cookies of a session that `SessionStore.create` made."""
        self.started_id, self.has_been_ended = session_id, False
        self._record, self._is_loaded = record, True

    def end(self) -> None:
        """Takes the cookies from the browser. Ending the session itself is `SessionStore.end`, which may fail: the
        cookies go all the same."""
        self.started_id, self.has_been_ended = None, True
        self._record, self._is_loaded = None, True

    def _refuse_change(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("the session holds the login and nothing else; nothing can be put into it")

    __setitem__ = __delitem__ = setdefault = update = pop = popitem = clear = _refuse_change

    def __bool__(self) -> bool:
        return self.record is not None

    def __repr__(self) -> str:
        return "<BffSession>"


class StoreSessionInterface(ServerSideSessionInterface):  # type: ignore[misc]  # the package has no types
    """Opens a `BffSession` for each request and writes the cookies it changed."""

    session_class = BffSession

    def __init__(self, app: Flask, sessions: SessionStore, *, settings: Settings) -> None:
        super().__init__(app, key_prefix="", use_signer=False, permanent=False, sid_length=_SESSION_ID_BYTES)
        self.serializer = None  # it would fall back to pickle
        self._sessions = sessions
        cookie, self._is_https = settings.session.cookie, settings.server.is_https
        self._cookie_name = session_cookie_name(cookie.name, https=self._is_https, domain=cookie.domain)
        self._domain, self._same_site = cookie.domain, cookie.same_site

    def open_session(self, app: Flask, request: Request) -> BffSession:  # noqa: ARG002  Flask's signature
        """Reads nothing yet."""
        return BffSession(lambda: self._read_cookie(request), self._sessions.find)

    def save_session(self, app: Flask, session: BffSession, response: Response) -> None:  # noqa: ARG002
        """Writes nothing to the store."""
        if session.accessed:
            response.vary.add("Cookie")
        for line in self._build_cookie_lines(session):
            response.headers.add("Set-Cookie", line)

    def _read_cookie(self, request: Request) -> str | None:
        line = request.environ.get("HTTP_COOKIE")
        return parse_single_session_cookie([line] if line else [], self._cookie_name)

    def _build_cookie_lines(self, session: BffSession) -> Sequence[str]:
        if session.started_id is not None:
            return (
                self._build_set_cookie(self._cookie_name, session.started_id, http_only=True),
                self._build_set_cookie(CSRF_COOKIE_NAME, build_csrf_token(session.started_id), http_only=False),
            )
        if session.has_been_ended:
            return (
                self._build_delete_cookie(self._cookie_name, http_only=True),
                self._build_delete_cookie(CSRF_COOKIE_NAME, http_only=False),
            )
        return ()

    def _build_set_cookie(self, name: str, value: str, *, http_only: bool) -> str:
        return build_set_cookie(
            name, value, secure=self._is_https, http_only=http_only, same_site=self._same_site, domain=self._domain
        )

    def _build_delete_cookie(self, name: str, *, http_only: bool) -> str:
        return build_delete_cookie(
            name, secure=self._is_https, http_only=http_only, same_site=self._same_site, domain=self._domain
        )

    def regenerate(self, session: BffSession) -> NoReturn:  # noqa: ARG002  Flask-Session's signature
        raise TypeError("a session keeps its id; a login makes a new one with SessionStore.create")

    def _retrieve_session_data(self, store_id: str) -> dict[str, Any] | None:
        record = self._sessions.find(store_id)
        return None if record is None else asdict(record)

    def _delete_session(self, store_id: str) -> None:
        self._sessions.end(store_id)

    def _upsert_session(self, session_lifetime: timedelta, session: BffSession, store_id: str) -> NoReturn:  # noqa: ARG002
        raise TypeError("sessions are made by a login and changed by nothing else")


def get_session() -> BffSession:
    """The session of the request at hand, with its type."""
    return cast(BffSession, flask_session._get_current_object())  # type: ignore[attr-defined]
