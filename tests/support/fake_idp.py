"""An identity provider in memory, for what the real one cannot be made to do: lifetimes, counts, stalls.

It speaks HTTP as far as `requests` can tell (`responses` answers in place of a socket), and it remembers: tokens are
numbered, requests are kept, and it can be told to fail or to wait.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import requests
import responses

ISSUER = "https://idp.example.com"

Answer = tuple[int, dict[str, str], str]


class FakeIdp:
    """Answers discovery, token and revocation requests."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self.expires_in: object = 300
        self.failure: tuple[int, dict[str, Any]] | None = None
        """What every endpoint but discovery answers instead."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
            "revocation_endpoint": f"{ISSUER}/revoke",
            "end_session_endpoint": f"{ISSUER}/end",
        }

    @contextmanager
    def serve(self) -> Iterator[FakeIdp]:
        """Takes the place of the network while the block runs."""
        with responses.RequestsMock(assert_all_requests_are_fired=False) as network:
            discovery = f"{ISSUER}/.well-known/openid-configuration"
            network.add_callback(responses.GET, discovery, callback=self._tell_metadata)
            network.add_callback(responses.POST, f"{ISSUER}/token", callback=self._give_token)
            network.add_callback(responses.POST, f"{ISSUER}/revoke", callback=self._revoke)
            yield self

    def _tell_metadata(self, _request: requests.PreparedRequest) -> Answer:
        return 200, {}, json.dumps(self.metadata)

    def _give_token(self, request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        self.forms.append(dict(parse_qsl(request.body.decode(), strict_parsing=True)))
        number = len(self.forms)
        self.may_answer.wait(10)
        if self.failure is not None:
            return self.failure[0], {}, json.dumps(self.failure[1])
        document = {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": self.expires_in}
        return 200, {}, json.dumps({name: value for name, value in document.items() if value is not None})

    def _revoke(self, request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        self.may_answer.wait(10)
        if self.failure is not None:
            return self.failure[0], {}, ""
        self.revoked.append(dict(parse_qsl(request.body.decode()))["token"])
        return 200, {}, ""
