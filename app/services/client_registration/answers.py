"""Judges what a provider answers to a registration, a read or an update (RFC 7591 §3.2, RFC 7592 §3). Sends nothing.

The texts of the errors are for operators and repeat nothing from the wire but OAuth error codes and client ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.services.client_registration.client_metadata import AUTH_METHOD, ClientMetadata, find_differences
from app.services.control_http import ControlAnswer
from app.services.oidc_answers import (
    MAX_TOKEN_CHARACTERS,
    TOKEN_PATTERN,
    AnswerRefusedError,
    name_error_code,
    parse_json_object,
)

MAX_ANSWER_BYTES = 256 * 1024
CLIENT_ID_PATTERN = re.compile(r"[\x20-\x7e]{1,1024}")
"""RFC 6749 §A.1, and a bound of ours."""
_NOT_NOW = frozenset({429, 503})
_MUST_BE_AS_ASKED = ("redirect_uris", "jwks_uri")


class RegistrationNotNowError(Exception):
    """The provider said that it did nothing and may do it later (429, 503)."""


class RegistrationFailedError(Exception):
    """The provider failed, and whether it did what was asked is open."""


class RegistrationRefusedError(Exception):
    """The provider understood and said no."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"status {status}, error {error}")
        self.status = status
        self.error = error

    @property
    def is_about_token(self) -> bool:
        """Whether it was the token that was not accepted, rather than what was asked with it."""
        return self.status in {401, 403} or self.error in {"invalid_token", "insufficient_scope"}


class ClientNotAsAskedError(AnswerRefusedError):
    """The provider has a client for us, but not one that may be used."""

    def __init__(self, client_id: str, reason: str) -> None:
        super().__init__(reason)
        self.client_id = client_id


@dataclass(frozen=True, slots=True)
class ClientAnswer:
    """A client as the provider tells it."""

    client_id: str
    document: ClientMetadata = field(repr=False)
    """All of it; may hold secrets."""
    registration_client_uri: str = ""
    registration_access_token: str = field(repr=False, default="")

    @property
    def is_managed(self) -> bool:
        """Whether there is a way to read and change it (RFC 7592)."""
        return bool(self.registration_client_uri and self.registration_access_token)


def parse_client_answer(answer: ControlAnswer, *, trusted_origins: frozenset[str]) -> ClientAnswer:
    """Returns the client in an answer; raises one of this module's errors or `AnswerRefusedError`. Providers answer 200
    where 201 is due, and the other way round. `trusted_origins` are those that a token of ours may be sent to."""
    _check_status(answer)
    document = parse_json_object(answer.body)
    client_id = document.get("client_id")
    if not isinstance(client_id, str) or not CLIENT_ID_PATTERN.fullmatch(client_id):
        raise AnswerRefusedError("client_id is missing or malformed")
    try:
        uri = _parse_registration_uri(document, trusted_origins)
        token = _parse_registration_token(document)
    except AnswerRefusedError as error:
        raise ClientNotAsAskedError(client_id, str(error)) from None
    return ClientAnswer(client_id, document, uri, token)


def check_as_asked(client: ClientAnswer, wanted: ClientMetadata) -> None:
    """Raises `ClientNotAsAskedError` unless the client can be used safely: it proves itself with our key and with
    nothing else, and codes go to our addresses and to no other. The rest a provider may settle as it likes."""
    method = client.document.get("token_endpoint_auth_method")
    if method is None and "client_secret" in client.document:
        # The default of RFC 7591 §2, and a secret to go with it.
        raise ClientNotAsAskedError(client.client_id, "the client authenticates with a client_secret")
    if method not in (None, AUTH_METHOD):
        raise ClientNotAsAskedError(client.client_id, f"token_endpoint_auth_method is not {AUTH_METHOD}")
    told = {name: client.document[name] for name in _MUST_BE_AS_ASKED if client.document.get(name) is not None}
    if differing := find_differences(told, {name: wanted.get(name) for name in told}, {}):
        raise ClientNotAsAskedError(client.client_id, f"{differing[0]} is not what was asked for")


def build_trusted_origins(*urls: str) -> frozenset[str]:
    return frozenset(origin for url in urls if (origin := _tell_origin(url)))


def _check_status(answer: ControlAnswer) -> None:
    if answer.status in (200, 201):
        return
    if answer.status in _NOT_NOW:
        raise RegistrationNotNowError(f"status {answer.status}")
    if answer.status >= 500:
        raise RegistrationFailedError(f"status {answer.status}")
    raise RegistrationRefusedError(answer.status, _find_error_code(answer))


def _find_error_code(answer: ControlAnswer) -> str:
    """Some providers send no body with an error, or a page."""
    try:
        return name_error_code(parse_json_object(answer.body).get("error"))
    except AnswerRefusedError:
        return "unknown"


def _parse_registration_uri(document: Mapping[str, object], trusted_origins: frozenset[str]) -> str:
    """The place our token is sent to from now on: it must be the provider's own."""
    value = document.get("registration_client_uri")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 2048 or not TOKEN_PATTERN.fullmatch(value):
        raise AnswerRefusedError("registration_client_uri is malformed")
    if _tell_origin(value) not in trusted_origins:
        raise AnswerRefusedError("registration_client_uri is not on the provider's origin")
    return value


def _parse_registration_token(document: Mapping[str, object]) -> str:
    value = document.get("registration_access_token")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TOKEN_CHARACTERS or not TOKEN_PATTERN.fullmatch(value):
        raise AnswerRefusedError("registration_access_token is malformed")
    return value


def _tell_origin(url: str) -> str:
    """Scheme, host and port as they count; empty for what is no plain URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    if parts.username is not None or parts.fragment or not parts.hostname or "\\" in url:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"
