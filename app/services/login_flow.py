"""The login, from the first redirect to the new session. Knows nothing of Flask.

    start    browser → us → provider     a pending login is kept, its cookie and the redirect are given
    claim    provider → browser → us     the pending login is found, bound to this browser, and used up
    finish                               the code is spent, the ID token judged, the session made

`claim` and `finish` are two steps because a login that fails after `claim` still knows where its user wanted to go, and
its cookie is of no more use. Nothing is sent to the token endpoint before the state is used up (L2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from app.core.errors import BadRequestError, LoginFailedError, LoginStateInvalidError
from app.observability import audit
from app.services.dpop_key import BoundToken, DpopKey, generate_dpop_key, parse_dpop_key
from app.services.key_ring import KeyRing
from app.services.login_attempts import LoginAttempt, LoginAttemptStore, hash_secret, make_secret
from app.services.login_cookies import LoginCookies, LoginCookieValue, parse_login_cookie
from app.services.logout_marks import LogoutMarks
from app.services.oidc_callback import CallbackParameters, parse_callback_parameters, require_code
from app.services.oidc_claims import ClaimSelection, merge_userinfo, read_text, require_user_id, select_claims
from app.services.oidc_client import OidcClient
from app.services.oidc_metadata import ProviderMetadata
from app.services.oidc_requests import AuthorizationRequest
from app.services.rate_limits import build_login_limit, group_address
from app.services.return_addresses import check_return_address
from app.services.session_store import NewSession, SessionLimit, SessionRecord, SessionStore, is_session_id
from app.services.session_store.limit import LoginTurn
from app.services.state_store.interface import StateStore
from app.services.token_store import TokenSet, TokenStore
from app.settings import Configuration
from app.settings.schema.settings_file import OidcSettings

START_PAGE = "/"
CALLBACK_PATH = "/auth/callback"
MAX_PARAMETER_CHARACTERS = 1024
NOT_STRONG_ENOUGH = "The identity provider did not authenticate you in the way that was asked for."
MAX_AGE_PATTERN = re.compile(r"[0-9]{1,9}")

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class LoginStart:
    """Where the browser goes, and the `Set-Cookie` lines that go with it."""

    redirect_url: str = field(repr=False)
    set_cookies: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClaimedLogin:
    """A login that came back to the browser it began in. It is used up, whatever becomes of it."""

    parameters: CallbackParameters
    attempt: LoginAttempt
    metadata: ProviderMetadata
    cookie_removal: str

    @property
    def return_to(self) -> str:
        """Where the user wanted to go; checked."""
        return self.attempt.return_to


@dataclass(frozen=True, slots=True)
class LoginDone:
    """A session was made; its id goes into the cookie and nowhere else."""

    session_id: str = field(repr=False)
    record: SessionRecord
    return_to: str
    needs_page: bool
    """A redirect would arrive without the new Strict cookie, so a page has to go on from here by itself."""
    ended_sessions: int = 0
    """How many sessions that were there before in this browser ended."""
    ended_by_limit: int = 0
    """How many sessions of the user ended because there may only be so many."""


class LoginFlow:
    """Runs logins. One instance serves all requests."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        oidc_client: OidcClient,
        state_store: StateStore,
        key_ring: KeyRing,
        session_store: SessionStore,
        token_store: TokenStore,
        logout_marks: LogoutMarks,
        note_tokens: Callable[[str, TokenSet], None],
        clock: Callable[[], float],
    ) -> None:
        """`note_tokens(session_key, tokens)` is told of the tokens of each new session."""
        self._configuration = configuration
        self._settings = configuration.settings
        self._oidc_client = oidc_client
        self._session_store = session_store
        self._token_store = token_store
        self._logout_marks = logout_marks
        self._note_tokens = note_tokens
        self._clock = clock
        self._session_limit = SessionLimit(state_store, session_store, max_per_user=self._settings.session.max_per_user)
        self._attempts = LoginAttemptStore(state_store, key_ring)
        self._limit = build_login_limit(state_store, self._settings.limits.login_starts, clock=clock)
        response_mode = self._settings.oidc.response_mode
        self._is_signed = response_mode == "query.jwt"
        self._cookies = LoginCookies(https=self._settings.server.is_https, is_posted=response_mode == "form_post")
        self._claims = ClaimSelection.from_configuration(configuration)
        self._demanded_acr_values = frozenset(route.acr_values for route in configuration.route_table.routes)

    def start(
        self,
        parameters: Pairs,
        *,
        cookies: Mapping[str, str],
        live_session_id: str | None,
        client_address: str,
        own_origin: str,
    ) -> LoginStart:
        """Begins a login with the query of `/auth/login` on `own_origin`, where it will come back to.

        Raises `RateLimitedError`, `BadRequestError`, `UnsafeReturnToError`, `IdpUnavailableError` or
        `LoginFailedError`, in which case nothing is kept.
        """
        if self._limit is not None:
            self._limit.check(group_address(client_address))
        given = _parse_single_parameters(parameters)
        return_to = check_return_address(given.get("return_to") or START_PAGE, self._settings, own_origin)
        request = AuthorizationRequest(
            redirect_uri=own_origin + CALLBACK_PATH,
            state=make_secret(),
            nonce=make_secret(),
            code_verifier=make_secret(),
            dpop_key=generate_dpop_key() if self._settings.oidc.dpop else None,
            login_parameters=self._select_login_parameters(given),
        )
        redirect_url = self._oidc_client.fetch_authorization_url(request)
        set_cookies = self._keep_attempt(request, return_to, live_session_id, cookies)
        audit.record("login.started", client_address=client_address)
        return LoginStart(redirect_url, set_cookies)

    def claim(self, parameters: Pairs, find_cookie: Callable[[str], Sequence[str]], *, own_origin: str) -> ClaimedLogin:
        """Finds the login that the callback's `state` belongs to, and uses it up; it must have begun on `own_origin`.

        `find_cookie` returns every value a cookie of that name came with. Raises `BadRequestError`,
        `LoginStateInvalidError` or `IdpUnavailableError`, in which case nothing was used up.
        """
        answer = parse_callback_parameters(parameters, is_signed=self._is_signed)
        cookie_name = self._cookies.build_name(answer.state)
        browser_secret = _require_browser_secret(find_cookie(cookie_name))
        pending = self._attempts.check_browser(answer.state, browser_secret)
        if pending.redirect_uri != own_origin + CALLBACK_PATH:
            # Hosts that differ by their port alone share their cookies.
            raise LoginStateInvalidError(internal_reason="the login was begun on another of our hosts")
        if pending.issuer not in ("", self._settings.oidc.issuer):
            # Its code is for the provider that was asked, and must be shown to no other (RFC 9700 §4.4).
            raise LoginStateInvalidError(internal_reason="the login was begun at another identity provider")
        check_return_address(pending.return_to, self._settings, own_origin)
        metadata = self._oidc_client.get_metadata()
        attempt = self._attempts.take(answer.state)
        return ClaimedLogin(answer, attempt, metadata, self._cookies.build_removal(cookie_name))

    def finish(self, claimed: ClaimedLogin, *, presented_session_id: str | None, device: str) -> LoginDone:
        """Spends the code and makes the session.

        Raises `LoginFailedError` or `IdpUnavailableError`; then no session is made and the one before is untouched.
        """
        attempt = claimed.attempt
        code = require_code(self._oidc_client.verify_callback(claimed.parameters), claimed.metadata)
        tokens, claims = self._fetch_identity(code, attempt)
        login = build_new_session(self._settings.oidc, self._claims, claims, device)
        with self._session_limit.turn(login.user_id) as turn:
            ended = self._end_previous_sessions(attempt.previous_session_key, presented_session_id)
            session_id, record = self._session_store.create(login)
            self._check_not_logged_out(session_id, record, attempt)
            self._save_tokens(session_id, tokens)
            surplus = self._end_surplus(turn, session_id)
        audit.record("login.completed", user_id=record.user_id, session=record.reference)
        return LoginDone(session_id, record, attempt.return_to, self._needs_page(attempt), ended, surplus)

    def _select_login_parameters(self, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Returns what may be passed on to the provider; everything else was never heard (L10)."""
        chosen = tuple((name, given[name]) for name in self._settings.oidc.login_parameters if given.get(name))
        for name, value in chosen:
            if len(value) > MAX_PARAMETER_CHARACTERS or not value.isprintable():
                raise BadRequestError(f"The parameter {name} is too long or holds characters that it may not.")
            if name == "max_age" and not MAX_AGE_PATTERN.fullmatch(value):
                raise BadRequestError("The parameter max_age is not a number of seconds.")
        return chosen

    def _keep_attempt(
        self, request: AuthorizationRequest, return_to: str, live_session_id: str | None, cookies: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Keeps the pending login and returns the `Set-Cookie` lines that bind it to this browser."""
        now, browser_secret = self._clock(), make_secret()
        asked = dict(request.login_parameters)
        max_age = asked.get("max_age")
        attempt = LoginAttempt(
            started_at=now,
            browser_secret_hash=hash_secret(browser_secret),
            nonce=request.nonce,
            code_verifier=request.code_verifier,
            redirect_uri=request.redirect_uri,
            return_to=return_to,
            issuer=self._settings.oidc.issuer,
            dpop_key=request.dpop_key.text if request.dpop_key else None,
            previous_session_key=self._find_session_key(live_session_id),
            max_age_seconds=int(max_age) if max_age is not None else None,
            required_acr_values=self._find_required_acr_values(asked.get("acr_values", "")),
        )
        self._attempts.save(request.state, attempt)
        removals = [self._cookies.build_removal(name) for name in self._cookies.find_surplus(cookies)]
        return (*removals, self._cookies.build_for(request.state, LoginCookieValue(int(now), browser_secret)))

    def _find_required_acr_values(self, asked: str) -> tuple[str, ...]:
        """What a route asks for is required of the login: else a provider that takes `acr_values` for a wish, as it
        may (OIDC Core §3.1.2.1), would send the user to the route and the route the user to the provider, for ever."""
        values = tuple(asked.split())
        return values if values in self._demanded_acr_values else ()

    def _find_session_key(self, session_id: str | None) -> str | None:
        return self._session_store.session_key(session_id) if session_id and is_session_id(session_id) else None

    def _fetch_identity(self, code: str, attempt: LoginAttempt) -> tuple[TokenSet, dict[str, object]]:
        """Returns the tokens of this login and what they say about its user."""
        dpop_key = self._choose_dpop_key(attempt)
        answer = self._oidc_client.exchange_code(
            code, redirect_uri=attempt.redirect_uri, code_verifier=attempt.code_verifier, dpop_key=dpop_key
        )
        if answer.id_token is None:
            raise LoginFailedError(internal_reason="the token answer holds no ID token")
        claims = self._oidc_client.verify_id_token(
            answer.id_token,
            nonce=attempt.nonce,
            access_token=answer.access_token,
            max_age_seconds=attempt.max_age_seconds,
        )
        if attempt.required_acr_values and claims.get("acr") not in attempt.required_acr_values:
            raise LoginFailedError(NOT_STRONG_ENOUGH, internal_reason="acr is none of those that the route asks for")
        if self._settings.oidc.userinfo:
            token = answer.access_token if dpop_key is None else BoundToken(answer.access_token, dpop_key)
            userinfo = self._oidc_client.fetch_userinfo(token, str(claims["sub"]))
            claims = merge_userinfo(claims, userinfo)
        return answer.to_token_set(self._clock(), dpop_key.text if dpop_key else None), claims

    def _choose_dpop_key(self, attempt: LoginAttempt) -> DpopKey | None:
        """The one that the login began with: a code is bound to it, whatever the setting says by now. A login that
        began with none, before the setting was switched on, gets one."""
        if attempt.dpop_key is not None:
            return parse_dpop_key(attempt.dpop_key)
        return generate_dpop_key() if self._settings.oidc.dpop else None

    def _end_previous_sessions(self, previous_session_key: str | None, presented_session_id: str | None) -> int:
        """Ends the session the login was begun from and the one the callback came with (L8, L9); returns how many.

        Their refresh tokens are not revoked: at many providers they share one grant with the tokens just received,
        and revoking one ends them all.
        """
        keys = filter(None, {previous_session_key, self._find_session_key(presented_session_id)})
        ended = [
            record for key in keys if (record := self._session_store.end_by_key(key, has_successor=True)) is not None
        ]
        for record in ended:
            audit.record("session.ended", user_id=record.user_id, session=record.reference, reason="new_login")
        return len(ended)

    def _check_not_logged_out(self, session_id: str, record: SessionRecord, attempt: LoginAttempt) -> None:
        """A back-channel logout may have overtaken this login; from here on the next one finds its session."""
        try:
            is_over = self._logout_marks.cover(record, attempt.started_at)
        except Exception:
            self._session_store.end(session_id)
            raise
        if is_over:
            self._session_store.end(session_id)
            raise LoginFailedError(internal_reason="the provider ended the session while its login was under way")

    def _save_tokens(self, session_id: str, tokens: TokenSet) -> None:
        """Keeps the tokens beside the session; a session that cannot have its tokens is not left behind."""
        lifetime = self._settings.session.absolute_timeout_seconds
        session_key = self._session_store.session_key(session_id)
        try:
            saved = self._token_store.save(session_key, tokens, lifetime)
        except Exception:
            self._session_store.end(session_id)
            raise
        if not saved:
            raise LoginFailedError(internal_reason="the session was ended while its login was under way")
        self._note_tokens(session_key, tokens)

    def _end_surplus(self, turn: LoginTurn, session_id: str) -> int:
        """Ends the user's oldest sessions while there are more than may be; returns how many.

        As in `_end_previous_sessions` nothing is revoked: theirs may be the grant of this login.
        """
        try:
            surplus = turn.find_surplus(self._session_store.session_key(session_id))
            ended = [record for old in surplus if (record := self._end_for_limit(old.key)) is not None]
        except Exception:
            self._session_store.end(session_id)  # else a login that was refused would count among them
            raise
        return len(ended)

    def _end_for_limit(self, session_key: str) -> SessionRecord | None:
        record = self._session_store.end_by_key(session_key, has_successor=True)
        if record is not None:
            audit.record("session.ended", user_id=record.user_id, session=record.reference, reason="session_limit")
        return record

    def _needs_page(self, attempt: LoginAttempt) -> bool:
        """Tells whether the address must see the session at once, on the very redirect that comes from elsewhere.

        Browsers hold a Strict cookie back on a navigation whose redirects began on another site. Pages ask for the
        session later, from our own origin; a `navigation` route needs it right away.
        """
        if self._settings.session.cookie.same_site != "Strict":
            return False
        address = urlsplit(urljoin(attempt.redirect_uri, attempt.return_to))
        path = address.path or START_PAGE
        match = self._configuration.route_table.match(path)
        if match is not None and match.route.navigation:
            return True
        return self._configuration.forward_auth.find(address.hostname or "", path) is not None


def build_new_session(
    oidc: OidcSettings, selection: ClaimSelection, claims: Mapping[str, object], device: str
) -> NewSession:
    """Returns what a login with these claims makes; raises `LoginFailedError`."""
    authenticated_at = claims.get("auth_time")
    return NewSession(
        user_id=require_user_id(claims, oidc.user_id_claim),
        subject=str(claims["sub"]),
        provider=oidc.provider_alias,
        issuer=oidc.issuer,
        claims=select_claims(claims, selection),
        idp_session_id=read_text(claims, "sid"),
        auth_time=int(authenticated_at) if isinstance(authenticated_at, int | float) else None,
        acr=read_text(claims, "acr"),
        device=device,
    )


def _parse_single_parameters(pairs: Pairs) -> dict[str, str]:
    """Raises `BadRequestError` when a parameter is there twice: of two values neither is picked."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequestError("A parameter of the request is there twice.")
        found[name] = value
    return found


def _require_browser_secret(values: Sequence[str]) -> str:
    """Returns the secret of the login's cookie; raises `LoginStateInvalidError` without exactly one (L1)."""
    parsed = parse_login_cookie(values[0]) if len(values) == 1 else None
    if parsed is None:
        raise LoginStateInvalidError(internal_reason="the browser does not hold this login's cookie, or holds it twice")
    return parsed.browser_secret
