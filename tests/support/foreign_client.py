"""Another client of the real provider: what a program or a partner's application is to the BFF.

client = ForeignClient(op)
client.get_service_token("urn:test:api:crud")
client.get_user_tokens("urn:test:api:crud", "alice")["access_token"]
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import requests

from tests.support.opwalk import walk
from tests.support.real_op import RealOp

ORIGIN = "http://localhost:7777"
REDIRECT_URI = f"{ORIGIN}/auth/callback"


class ForeignClient:
    """Gets access tokens for an API, for itself or for a user."""

    def __init__(self, op: RealOp) -> None:
        self._op = op
        self.client = op.register_client(ORIGIN, scope="openid profile crud:read crud:write opaque:read")

    def get_service_token(self, resource: str) -> str:
        token: str = self._request({"grant_type": "client_credentials", "resource": resource})["access_token"]
        return token

    def get_user_tokens(self, resource: str, user: str, *, nonce: str = "") -> dict[str, Any]:
        """The whole token answer of a login by `user`, ID token included."""
        verifier = secrets.token_urlsafe(48)
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": self.client.client_id,
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "scope": "openid crud:read opaque:read",
            "resource": resource,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **({"nonce": nonce} if nonce else {}),
        }
        with requests.Session() as browser:
            browser.trust_env = False
            url = walk(browser, f"{self._op.issuer}/auth?{urlencode(query)}", stop_at=REDIRECT_URI, login=user)
        code = parse_qs(urlsplit(url).query)["code"][0]
        grant = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
        return self._request({**grant, "code_verifier": verifier, "resource": resource})

    def revoke(self, token: str) -> None:
        self._post("/token/revocation", {"token": token})

    def _request(self, form: dict[str, str]) -> dict[str, Any]:
        answer: dict[str, Any] = self._post("/token", form).json()
        return answer

    def _post(self, path: str, form: dict[str, str]) -> requests.Response:
        credentials = (quote_plus(self.client.client_id), quote_plus(self.client.client_secret))
        answer = requests.post(f"{self._op.issuer}{path}", data=form, auth=credentials, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer
