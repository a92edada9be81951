"""Client assertions: the BFF's own short-lived JWTs that prove who it is at the provider (RFC 7523 §2.2 and §3).

Two generations of that rule are in use, and `oidc.assertion_audience` says which one the provider follows. `issuer` is
the update of RFC 7523 (draft-ietf-oauth-rfc7523bis, FAPI 2.0): the issuer is the only audience and the type is
explicit, so that no provider can make use of an assertion at another one. Providers that know only the first generation
want an endpoint as the audience, and often no other type than `JWT`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from joserfc import jwt

from app.services.key_store import SigningKey

AssertionAudience = Literal["issuer", "token_endpoint", "endpoint"]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LIFETIME_SECONDS = 60
"""From `iat` to `exp`; what is sent is used at once."""
BACKDATED_SECONDS = 10
"""A provider whose clock is a little behind ours must not read an assertion from the future. There is no `nbf`: it
would only add a second thing for clocks to disagree on."""


@dataclass(frozen=True, slots=True)
class AssertionSigner:
    """Makes assertions for one client. Each is good for one request: it has a `jti` of its own."""

    client_id: str
    audience: AssertionAudience
    issuer: str
    get_token_endpoint: Callable[[], str] = field(repr=False)
    get_signing_key: Callable[[], SigningKey] = field(repr=False)
    """Asked for every assertion, so that a rotation needs no other word."""
    clock: Callable[[], float] = field(repr=False)

    def sign(self, endpoint: str) -> str:
        """Returns an assertion for a request to `endpoint`."""
        key = self.get_signing_key()
        issued_at = int(self.clock()) - BACKDATED_SECONDS
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self._choose_audience(endpoint),
            "jti": secrets.token_urlsafe(32),
            "iat": issued_at,
            "exp": issued_at + LIFETIME_SECONDS,
        }
        header = {"alg": key.algorithm, "kid": key.kid, "typ": self._choose_type()}
        return jwt.encode(header, claims, key.private_key, algorithms=[key.algorithm])

    def _choose_audience(self, endpoint: str) -> str:
        if self.audience == "issuer":
            return self.issuer
        return self.get_token_endpoint() if self.audience == "token_endpoint" else endpoint

    def _choose_type(self) -> str:
        return "client-authentication+jwt" if self.audience == "issuer" else "JWT"
