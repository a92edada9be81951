"""How an access token is found genuine: by its issuer's published keys, or by asking its issuer (RFC 7662).

A source belongs to one entry of `idps.yaml` and takes tokens of that issuer for that audience only. It raises
`TokenInvalidError` for a token that is not good, and `IdpUnavailableError` when nobody can say whether it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.core.access_token import (
    AccessTokenClaimError,
    AccessTokenExpectation,
    build_token_refusal,
    check_access_token_claims,
    check_introspected_claims,
    check_token_type,
)
from app.core.errors import IdpUnavailableError
from app.services.access_token_cache import AccessTokenCache, hash_token
from app.services.control_http import ControlAnswer, ControlHttp, ControlUnreachableError
from app.services.oidc_answers import AnswerRefusedError, parse_json_object
from app.services.oidc_client import OidcClient
from app.services.oidc_client_auth import AuthenticatedRequest, Parameters, build_client_authenticator
from app.services.oidc_document_cache import CacheTimes
from app.services.oidc_keys import KeySource, SignatureRefusedError
from app.services.single_flight import SingleFlight
from app.settings import Configuration
from app.settings.schema import IdpEntry

KEY_TIMES = CacheTimes(lifetime=300, stale_lifetime=1500, back_off=5)
"""A key that its issuer takes back is good for five minutes more, and for half an hour while the issuer is away."""
VERIFIED_SECONDS = 60
"""How long a signature that was found good is not checked again; on top of what `KEY_TIMES` say."""
UNKNOWN_LIFETIME_SECONDS = 60
"""For a token whose issuer does not tell when it expires."""
REFUSED_SECONDS = 10
"""How long a token that its issuer does not know is not asked about again."""
MAX_REFUSED = 5000
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """A token that was found good. Times in epoch seconds."""

    claims: Mapping[str, object] = field(repr=False)
    good_until: float
    """Until when that is believed without a new check."""
    ends_at: float | None
    """From when on it is refused in any case, the leeway included; None where its issuer does not tell."""


class AccessTokenSource(Protocol):
    """One entry's way of finding out."""

    @property
    def entry(self) -> IdpEntry: ...

    def check(self, token: str) -> CheckedToken:
        """Raises `TokenInvalidError` or `IdpUnavailableError`."""


class SignedAccessTokens:
    """Access tokens that are JWTs, checked with the keys at `jwks_url`."""

    def __init__(
        self, entry: IdpEntry, *, http: ControlHttp, clock: Callable[[], float], leeway_seconds: float
    ) -> None:
        self.entry = entry
        self._clock = clock
        self._leeway_seconds = leeway_seconds
        self._keys = KeySource(http=http, clock=clock, get_jwks_uri=lambda: entry.jwks_url, times=KEY_TIMES)

    def check(self, token: str) -> CheckedToken:
        now = self._clock()
        expected = AccessTokenExpectation(self.entry.issuer, self.entry.audience, now, self._leeway_seconds)
        try:
            verified = self._keys.verify(token)
            check_token_type(verified.token_type, verified.claims)
            expires_at = check_access_token_claims(verified.claims, expected)
        except (SignatureRefusedError, AccessTokenClaimError) as error:
            raise build_token_refusal(f"{self.entry.name}: {error}") from error
        ends_at = expires_at + self._leeway_seconds
        return CheckedToken(verified.claims, min(ends_at, now + VERIFIED_SECONDS), ends_at)


class IntrospectedAccessTokens:
    """Access tokens of any form, looked up at `introspection_url`. One question at a time for each token."""

    def __init__(
        self,
        entry: IdpEntry,
        *,
        authenticate: Callable[[Parameters, str], AuthenticatedRequest],
        http: ControlHttp,
        clock: Callable[[], float],
        leeway_seconds: float,
        patience_seconds: float,
    ) -> None:
        """`patience_seconds`: how long a caller waits for a question that another one asked."""
        self.entry = entry
        self._authenticate = authenticate
        self._http = http
        self._clock = clock
        self._leeway_seconds = leeway_seconds
        self._patience_seconds = patience_seconds
        self._flights: SingleFlight[Mapping[str, object]] = SingleFlight()
        self._refused: AccessTokenCache[bool] = AccessTokenCache(max_entries=MAX_REFUSED, clock=clock)

    def check(self, token: str) -> CheckedToken:
        token_hash = hash_token(token)
        if self._refused.find(token_hash):
            raise build_token_refusal(f"{self.entry.name}: the issuer said a moment ago that the token is not active")
        claims = self._ask_once(token, token_hash)
        if claims.get("active") is not True:
            self._refused.keep(token_hash, True, self._clock() + REFUSED_SECONDS)
            raise build_token_refusal(f"{self.entry.name}: the issuer says that the token is not active")
        now = self._clock()
        expected = AccessTokenExpectation(self.entry.issuer, self.entry.audience, now, self._leeway_seconds)
        try:
            expires_at = check_introspected_claims(claims, expected)
        except AccessTokenClaimError as error:
            self._refused.keep(token_hash, True, now + REFUSED_SECONDS)
            raise build_token_refusal(f"{self.entry.name}: introspection: {error}") from error
        if expires_at is None:
            return CheckedToken(claims, now + UNKNOWN_LIFETIME_SECONDS, None)
        return CheckedToken(claims, expires_at, expires_at + self._leeway_seconds)

    def _ask_once(self, token: str, token_hash: bytes) -> Mapping[str, object]:
        flight = self._flights.join(token_hash, lambda: self._ask(token))
        if not flight.wait(self._patience_seconds):
            raise IdpUnavailableError(internal_reason=f"{self.entry.name}: introspection takes too long")
        return flight.get()

    def _ask(self, token: str) -> Mapping[str, object]:
        url = self.entry.introspection_url
        request = self._authenticate((("token", token), ("token_type_hint", "access_token")), url)
        try:
            answer = self._http.fetch(
                "POST", url, headers=request.headers, form=request.form, max_bytes=MAX_ANSWER_BYTES
            )
            return parse_introspection_answer(answer)
        except (ControlUnreachableError, AnswerRefusedError) as error:
            raise IdpUnavailableError(internal_reason=f"{self.entry.name}: introspection: {error}") from error


def parse_introspection_answer(answer: ControlAnswer) -> Mapping[str, object]:
    """Returns the members of an answer (RFC 7662 §2.2); raises `AnswerRefusedError` for what answers nothing.

    A refusal (our credentials, say) tells nothing about the token, and neither does an `active` that is no boolean.
    """
    if answer.status != 200:
        raise AnswerRefusedError(f"status {answer.status}")
    members = parse_json_object(answer.body)
    if not isinstance(members.get("active"), bool):
        raise AnswerRefusedError("active is missing or not a boolean")
    return members


def build_access_token_sources(
    configuration: Configuration, *, oidc_client: OidcClient, clock: Callable[[], float]
) -> tuple[AccessTokenSource, ...]:
    """Returns a source for each entry of `idps.yaml`, in their order."""
    oidc = configuration.settings.oidc
    own_http = ControlHttp(timeout_seconds=oidc.timeout_seconds, ca_file=oidc.ca_file)
    other_http = ControlHttp(timeout_seconds=oidc.timeout_seconds)
    sources: list[AccessTokenSource] = []
    for entry in configuration.idps:
        http = own_http if entry.issuer == oidc.issuer else other_http
        if entry.jwks_url:
            sources.append(SignedAccessTokens(entry, http=http, clock=clock, leeway_seconds=oidc.clock_skew_seconds))
            continue
        sources.append(
            IntrospectedAccessTokens(
                entry,
                authenticate=_choose_authentication(entry, oidc_client),
                http=http,
                clock=clock,
                leeway_seconds=oidc.clock_skew_seconds,
                patience_seconds=oidc.timeout_seconds * 2,  # the metadata may have to be fetched first
            )
        )
    return tuple(sources)


def _choose_authentication(
    entry: IdpEntry, oidc_client: OidcClient
) -> Callable[[Parameters, str], AuthenticatedRequest]:
    """An entry without a client of its own is the login's provider, where the BFF is a client already."""
    if not entry.client_id:
        return oidc_client.authenticate
    secret = entry.client_secret.get_secret_value()
    return build_client_authenticator("client_secret_basic", entry.client_id, secret).authenticate
