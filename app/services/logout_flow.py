"""The logout: ours first, then the provider's (OIDC RP-Initiated Logout 1.0). Knows nothing of Flask.

    end         the session ends here at once; the refresh token is revoked; a ticket for the next step is given
    continue_   the ticket, good once and for a minute, becomes the redirect to the provider
    logged_out  the provider sends the browser back, and it goes on to where the logout said

The ID token that the provider wants as a hint stays in the store until that one redirect, so no script ever sees it.
Nothing the provider or the store does can keep a user logged in: what fails is left out or done later (L15).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import structlog

from app.core.errors import BadRequestError, IdpUnavailableError, StoreUnavailableError
from app.observability import audit
from app.services.key_ring import KeyRing, SealBrokenError
from app.services.login_attempts import hash_secret, make_secret
from app.services.oidc_client import OidcClient
from app.services.return_addresses import check_return_address
from app.services.session_store import SessionRecord, SessionStore, is_session_id
from app.services.state_store.interface import StateStore
from app.services.token_revocation import revoke_tokens
from app.services.token_store import TokenSet, TokenStore
from app.settings import Settings

CONTINUE_PATH = "/auth/logout/continue"
LOGGED_OUT_PATH = "/auth/logged-out"
TICKET_LIFETIME_SECONDS = 60
RETURN_LIFETIME_SECONDS = 600
"""How long a user may spend at the provider's logout pages."""

Value = TypeVar("Value")

_log = structlog.get_logger(__name__)


class _Ticket(msgspec.Struct, frozen=True):
    """What the step after the logout needs."""

    id_token_hint: str
    return_to: str

    def __repr__(self) -> str:
        return "_Ticket(***)"


@dataclass(frozen=True, slots=True)
class LogoutDone:
    """The session is over here. `logout_url` leads on to the provider, where there is something to end there too."""

    logout_url: str | None = field(repr=False)
    return_to: str
    """Checked; empty when the logout named none."""
    had_session: bool = False
    """There was a session, and it is over or will be once the store is back."""


class LogoutFlow:
    """Runs logouts. One instance serves all requests."""

    def __init__(
        self,
        settings: Settings,
        *,
        oidc_client: OidcClient,
        state_store: StateStore,
        key_ring: KeyRing,
        session_store: SessionStore,
        token_store: TokenStore,
    ) -> None:
        self._settings = settings
        self._oidc_client = oidc_client
        self._session_store = session_store
        self._token_store = token_store
        self._tickets = _OneTimeRecords(state_store, key_ring)

    def end(self, session_id: str | None, *, own_origin: str, return_to: str = "") -> LogoutDone:
        """Ends the session, whatever else works; raises `UnsafeReturnToError` before anything ends.

        `own_origin` is the one that was addressed: the rest of the logout goes by way of it.

        While the store is away the session is over for this worker and its deletion is tried again later; there is no
        `logout_url` then.
        """
        checked = check_return_address(return_to, self._settings, own_origin) if return_to else ""
        if session_id is None or not is_session_id(session_id):
            return LogoutDone(None, checked)
        tokens = self._find_tokens(session_id)
        record, is_deferred = self._end_session(session_id)
        had_session = record is not None or is_deferred
        if had_session:
            audit.record("logout.completed", **_describe(record), deferred=is_deferred)
        if record is not None:
            audit.record("session.ended", **_describe(record), reason="logout")
        if record is None or tokens is None or record.issuer != self._oidc_client.issuer:
            return LogoutDone(None, checked, had_session)
        revoke_tokens(self._oidc_client, tokens, record)
        return LogoutDone(self._make_logout_url(tokens, checked, own_origin), checked, had_session)

    def continue_(self, ticket: str, *, own_origin: str) -> str:
        """Returns the provider's logout address, with the ID token as a hint; raises `BadRequestError` for a ticket
        that is unknown, used or too old."""
        self._oidc_client.get_metadata()  # first: while the provider is away, the ticket stays good
        spent = self._tickets.take("logout-ticket", ticket, _Ticket)
        if spent is None:
            raise BadRequestError("This logout link was used already or has run out of time.")
        state = make_secret()
        url = self._oidc_client.build_end_session_url(
            id_token_hint=spent.id_token_hint,
            post_logout_redirect_uri=own_origin + LOGGED_OUT_PATH,
            state=state,
        )
        if spent.return_to:
            self._tickets.save("logout-state", state, spent.return_to, RETURN_LIFETIME_SECONDS)
        return url or own_origin + LOGGED_OUT_PATH

    def logged_out(self, state: str, *, own_origin: str) -> str | None:
        """Returns where the logout said to go, once and checked again; None when there is nothing to go to."""
        return_to = self._tickets.take("logout-state", state, str) if state else None
        return check_return_address(return_to, self._settings, own_origin) if return_to else None

    def _find_tokens(self, session_id: str) -> TokenSet | None:
        try:
            return self._token_store.find(self._session_store.session_key(session_id))
        except StoreUnavailableError:
            return None

    def _end_session(self, session_id: str) -> tuple[SessionRecord | None, bool]:
        """Returns what the session was, and whether its end in the store is still to come."""
        try:
            return self._session_store.end(session_id), False
        except StoreUnavailableError as error:
            _log.warning("logout.deferred", reason=error.internal_reason)
            return None, True

    def _make_logout_url(self, tokens: TokenSet, return_to: str, own_origin: str) -> str | None:
        ticket = make_secret()
        try:
            if not self._oidc_client.get_metadata().end_session_endpoint:
                return None
            self._tickets.save(
                "logout-ticket", ticket, _Ticket(tokens.id_token or "", return_to), TICKET_LIFETIME_SECONDS
            )
        except (IdpUnavailableError, StoreUnavailableError):
            return None
        return f"{own_origin}{CONTINUE_PATH}?ticket={ticket}"


class _OneTimeRecords:
    """Small sealed records under a hash of the secret that opens them; each can be taken once."""

    def __init__(self, state_store: StateStore, key_ring: KeyRing) -> None:
        self._state_store = state_store
        self._key_ring = key_ring

    def save(self, kind: str, secret: str, value: _Ticket | str, lifetime_seconds: float) -> None:
        key = f"{kind}:{hash_secret(secret)}"
        self._state_store.put(key, self._key_ring.seal(msgspec.msgpack.encode(value), key), lifetime_seconds)

    def take(self, kind: str, secret: str, value_type: type[Value]) -> Value | None:
        key = f"{kind}:{hash_secret(secret)}"
        sealed = self._state_store.take(key)
        if sealed is None:
            return None
        try:
            return msgspec.msgpack.decode(self._key_ring.open(sealed, key), type=value_type)
        except (SealBrokenError, msgspec.MsgspecError):
            _log.warning("one_time_record.unreadable", kind=kind)
            return None


def _describe(record: SessionRecord | None) -> dict[str, object]:
    return {} if record is None else {"user_id": record.user_id, "session": record.reference}
