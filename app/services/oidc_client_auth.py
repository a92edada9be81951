"""How the BFF proves who it is at the provider's endpoints (RFC 6749 §2.3.1, RFC 7523 §2.2).

A `ClientAuthenticator` turns the parameters of a request into what is really sent. It is asked anew for every attempt,
because methods that sign an assertion need a fresh one each time.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote_plus

from app.services.client_assertion import ASSERTION_TYPE

Parameters = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AuthenticatedRequest:
    """What goes on the wire: header lines and form parameters."""

    headers: dict[str, str] = field(repr=False)
    form: Parameters = field(repr=False)


class ClientAuthenticator(Protocol):
    """One way of client authentication."""

    def authenticate(self, form: Parameters, endpoint: str) -> AuthenticatedRequest:
        """Adds the proof for a request to `endpoint`."""


@dataclass(frozen=True, slots=True)
class ClientSecretBasic:
    """`client_secret_basic`. Both parts are form-urlencoded first, which many libraries leave out (RFC 6749 §2.3.1)."""

    client_id: str
    client_secret: str = field(repr=False)

    def authenticate(self, form: Parameters, endpoint: str) -> AuthenticatedRequest:  # noqa: ARG002
        """Puts the credentials into `Authorization`."""
        credentials = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return AuthenticatedRequest({"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}, form)


@dataclass(frozen=True, slots=True)
class ClientSecretPost:
    """`client_secret_post`."""

    client_id: str
    client_secret: str = field(repr=False)

    def authenticate(self, form: Parameters, endpoint: str) -> AuthenticatedRequest:  # noqa: ARG002
        """Puts the credentials into the form."""
        credentials = (("client_id", self.client_id), ("client_secret", self.client_secret))
        return AuthenticatedRequest({}, (*_drop_client_id(form), *credentials))


@dataclass(frozen=True, slots=True)
class PrivateKeyJwt:
    """`private_key_jwt`: a new assertion for every request, attempts included, as providers refuse a `jti` they have
    seen (attack row T17). The client id goes along: some providers look for it there first (RFC 7521 §4.2)."""

    client_id: str
    sign_assertion: Callable[[str], str] = field(repr=False)
    """Makes an assertion for the endpoint that is called."""

    def authenticate(self, form: Parameters, endpoint: str) -> AuthenticatedRequest:
        """Puts the assertion into the form."""
        proof = (
            ("client_id", self.client_id),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", self.sign_assertion(endpoint)),
        )
        return AuthenticatedRequest({}, (*_drop_client_id(form), *proof))


def build_client_authenticator(
    method: str, client_id: str, client_secret: str, sign_assertion: Callable[[str], str] | None = None
) -> ClientAuthenticator:
    """Returns the authenticator that `oidc.client_auth` names; `private_key_jwt` needs `sign_assertion`."""
    if method == "private_key_jwt" and sign_assertion is not None:
        return PrivateKeyJwt(client_id, sign_assertion)
    if method == "client_secret_basic":
        return ClientSecretBasic(client_id, client_secret)
    if method == "client_secret_post":
        return ClientSecretPost(client_id, client_secret)
    raise ValueError(f"client authentication {method} is not available")


def _drop_client_id(form: Parameters) -> Parameters:
    """A pushed authorization request names the client itself (RFC 9126 §2.1); twice would be an error."""
    return tuple((name, value) for name, value in form if name != "client_id")
