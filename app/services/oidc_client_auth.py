"""How the BFF proves who it is at the provider's endpoints (RFC 6749 §2.3.1).

A `ClientAuthenticator` turns the parameters of a request into what is really sent. It is asked anew for every attempt,
because methods that sign an assertion need a fresh one each time.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote_plus

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
        """Puts the credentials into the form, where a pushed request may hold the client id already."""
        without_id = tuple((name, value) for name, value in form if name != "client_id")
        credentials = (("client_id", self.client_id), ("client_secret", self.client_secret))
        return AuthenticatedRequest({}, (*without_id, *credentials))


def build_client_authenticator(method: str, client_id: str, client_secret: str) -> ClientAuthenticator:
    """Returns the authenticator that `oidc.client_auth` names."""
    if method == "client_secret_basic":
        return ClientSecretBasic(client_id, client_secret)
    if method == "client_secret_post":
        return ClientSecretPost(client_id, client_secret)
    raise ValueError(f"client authentication {method} is not available")
