"""How the BFF shows the decision point who it is: not at all, with an API key, or with a token of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.services.control_http import ControlHttp, ControlUnreachableError
from app.services.oidc_answers import AnswerRefusedError, IdpFailingError, OAuthRefusalError, parse_token_answer
from app.services.oidc_client_auth import ClientSecretBasic
from app.settings.schema.pdp_file import PdpConnection

_SPENT_SECONDS = 10
_UNKNOWN_LIFETIME_SECONDS = 300


class PdpCredentialsError(Exception):
    """No credentials can be had. The text is for operators."""


class PdpCredentials(Protocol):
    """One way to show who is asking."""

    def get_headers(self) -> Mapping[str, str]:
        """Returns the header lines to send; raises `PdpCredentialsError`."""

    def forget(self) -> bool:
        """The decision point refused them; returns whether others may be had by asking again."""


class NoCredentials:
    """For a decision point that only trusted machines can reach."""

    def get_headers(self) -> Mapping[str, str]:
        return {}

    def forget(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in `X-API-Key`."""

    key: str = field(repr=False)

    def get_headers(self) -> Mapping[str, str]:
        return {"X-API-Key": self.key}

    def forget(self) -> bool:
        return False


class ClientToken:
    """An access token of the client-credentials grant (RFC 6749 §4.4), kept until shortly before it expires."""

    def __init__(
        self, http: ControlHttp, token_url: str, client: ClientSecretBasic, monotonic: Callable[[], float]
    ) -> None:
        self._http = http
        self._token_url = token_url
        self._client = client
        self._monotonic = monotonic
        self._token = ""
        self._good_until = 0.0
        self._fetching = threading.Lock()

    def __repr__(self) -> str:
        return "ClientToken(***)"

    def get_headers(self) -> Mapping[str, str]:
        with self._fetching:
            if self._monotonic() >= self._good_until:
                self._fetch()
            return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> bool:
        self._good_until = 0.0
        return True

    def _fetch(self) -> None:
        request = self._client.authenticate((("grant_type", "client_credentials"),), self._token_url)
        try:
            answer = parse_token_answer(
                self._http.fetch("POST", self._token_url, headers=request.headers, form=request.form)
            )
        except (ControlUnreachableError, AnswerRefusedError, IdpFailingError, OAuthRefusalError) as error:
            raise PdpCredentialsError(f"no token for the decision point: {error}") from error
        lifetime = _UNKNOWN_LIFETIME_SECONDS if answer.expires_in_seconds is None else answer.expires_in_seconds
        self._token = answer.access_token
        self._good_until = self._monotonic() + max(lifetime - _SPENT_SECONDS, lifetime / 2)


def build_pdp_credentials(
    connection: PdpConnection, http: ControlHttp, monotonic: Callable[[], float]
) -> PdpCredentials:
    """Returns what `connection.auth` names."""
    if connection.auth == "api_key":
        return ApiKey(connection.api_key.get_secret_value())
    if connection.auth == "client_credentials":
        client = ClientSecretBasic(connection.client_id, connection.client_secret.get_secret_value())
        return ClientToken(http, connection.token_url, client, monotonic)
    return NoCredentials()
