"""Answers an edge that asks whether the user of a forwarded request may pass (see `core/forward_auth`).

The yes is for a session that is alive in every respect: its user's token is renewed first where it has to be, so a
session whose grant is over at the identity provider opens nothing (T24).
"""

from __future__ import annotations

from app.core.cross_site import FetchMetadata, check_cross_site, check_websocket_origin, needs_csrf_token
from app.core.errors import NotAuthenticatedError, SessionExpiredError
from app.core.forward_auth import ForwardAuthMatch, ForwardedRequest
from app.core.identity import Identity
from app.services.authorization import Authorization
from app.services.permission_guard import Asking, check_decision
from app.services.session_store import SessionRecord, SessionStore, build_identity
from app.services.session_tokens import SessionTokens


class ForwardAuthorizer:
    """One instance serves all requests of a worker."""

    def __init__(
        self,
        *,
        session_store: SessionStore,
        session_tokens: SessionTokens,
        authorization: Authorization,
        allowed_origins: frozenset[str],
    ) -> None:
        """`allowed_origins` are those whose pages may call what is protected, beside its own."""
        self._session_store = session_store
        self._session_tokens = session_tokens
        self._authorization = authorization
        self._allowed_origins = allowed_origins

    def authorize(
        self,
        forwarded: ForwardedRequest,
        match: ForwardAuthMatch,
        *,
        session_id: str | None,
        record: SessionRecord | None,
        metadata: FetchMetadata,
        client_address: str,
        request_id: str,
    ) -> Identity:
        """Returns who passes. Raises `NotAuthenticatedError`, `SessionExpiredError`, `CsrfFailedError`,
        `ServiceTokenUnavailableError` or `StoreUnavailableError`, and where the decision point is asked
        `UnmappedError`, `AmbiguousPathError`, `BadRequestError`, `AccessDeniedError`,
        `InsufficientUserAuthenticationError` or `PdpUnavailableError`."""
        if session_id is None:
            raise NotAuthenticatedError
        if record is None:
            raise SessionExpiredError
        self._check_page(forwarded, metadata)
        self._session_tokens.check_user_token(self._session_store.session_key(session_id))
        record = self._session_store.find(session_id)  # a renewal may have changed the claims, or ended it (L27)
        if record is None:
            raise SessionExpiredError
        identity = build_identity(record)
        if match.rule.authz == "pdp" and not self._authorization.switch.lets_pass():
            asking = Asking(identity, record.acr, client_address, match.rule.id, forwarded.method, request_id)
            self._check_permission(forwarded, match, asking)
        self._session_store.touch(session_id, record)
        return identity

    def _check_permission(self, forwarded: ForwardedRequest, match: ForwardAuthMatch, asking: Asking) -> None:
        target = forwarded.target
        mapped = self._authorization.mapper.map_forwarded(match, forwarded.method, target.path)
        decided = self._authorization.guard.decide(asking, mapped.resolve(target.query))
        check_decision(decided.decision, asking.acr)

    def _check_page(self, forwarded: ForwardedRequest, metadata: FetchMetadata) -> None:
        """The cookie says who the user is, never which page is asking (B1, B3). What only reads may be linked to and
        embedded; the CSRF token is ours and unknown to the application."""
        own_origin, allowed = forwarded.origin, self._allowed_origins
        if forwarded.is_websocket:
            check_websocket_origin(metadata.origin, own_origin=own_origin, allow_origins=allowed)
        elif needs_csrf_token(forwarded.method):
            check_cross_site(forwarded.method, metadata, own_origin=own_origin, allow_origins=allowed)
