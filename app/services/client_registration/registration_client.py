"""Sends registrations, reads and updates (RFC 7591 §3.1, RFC 7592 §2). What comes back is judged in `answers`."""

from __future__ import annotations

from collections.abc import Mapping

from app.services.client_registration.answers import MAX_ANSWER_BYTES, ClientAnswer, parse_client_answer
from app.services.client_registration.client_metadata import ClientMetadata
from app.services.control_http import ControlHttp


class RegistrationClient:
    """Each method raises `ControlUnreachableError` or an error of `answers`, and sends exactly one request (a read
    whose connection was lost is sent again)."""

    def __init__(self, http: ControlHttp) -> None:
        self._http = http

    def create(
        self, endpoint: str, token: str, metadata: ClientMetadata, trusted_origins: frozenset[str]
    ) -> ClientAnswer:
        """Spends the initial access token."""
        return self._send("POST", endpoint, token, trusted_origins, metadata)

    def read(self, uri: str, token: str, trusted_origins: frozenset[str]) -> ClientAnswer:
        return self._send("GET", uri, token, trusted_origins)

    def update(self, uri: str, token: str, metadata: ClientMetadata, trusted_origins: frozenset[str]) -> ClientAnswer:
        """Replaces the client's metadata: RFC 7592 has no way to change a part."""
        return self._send("PUT", uri, token, trusted_origins, metadata)

    def _send(
        self,
        method: str,
        url: str,
        token: str,
        trusted_origins: frozenset[str],
        metadata: Mapping[str, object] | None = None,
    ) -> ClientAnswer:
        answer = self._http.fetch(
            method,
            url,
            headers={"Authorization": f"Bearer {token}"},
            json_body=metadata,
            max_bytes=MAX_ANSWER_BYTES,
        )
        return parse_client_answer(answer, trusted_origins=trusted_origins)
