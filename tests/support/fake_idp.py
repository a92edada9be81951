"""An identity provider in memory, for what the real one cannot be made to do: lifetimes, counts, stalls.

It speaks HTTP as far as `requests` can tell (`responses` answers in place of a socket), and it remembers: tokens are
numbered, requests are kept, and it can be told to fail or to wait.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests
import responses
from joserfc import jws, jwt
from joserfc.jwk import ECKey

ISSUER = "https://idp.example.com"
CLIENT_ID = "bff"
KEY = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"})

Answer = tuple[int, dict[str, str], str]


class FakeIdp:
    """Answers discovery, keys, token and revocation requests; `log_in` stands for its login pages."""

    def __init__(self, clock: Callable[[], float] = lambda: 1_700_000_000.0) -> None:
        self.clock = clock
        self.logins = 0
        self.codes: dict[str, dict[str, str]] = {}
        """Codes that were not spent, with the requests they answer."""
        self.claims: dict[str, Any] = {}
        self.token_changes: dict[str, Any] = {}
        """Members that every token answer has on top; None takes one away."""
        self.forms: list[dict[str, str]] = []
        self.refresh_token: str | None = None
        """The one refresh token that is good; each use makes a new one and an old one ends the grant."""
        self.refused_audiences: frozenset[str] = frozenset()
        self.revoked: list[str] = []
        self.jkts: list[str | None] = []
        """Of each token request, the thumbprint of the key that it came with a proof of (RFC 9449)."""
        self.binds_tokens = True
        self.userinfo: dict[str, Any] = {}
        """What UserInfo says."""
        self.userinfo_failure: tuple[int, str] | None = None
        """Status and body that UserInfo answers instead."""
        self.userinfo_tokens: list[str] = []
        """The access tokens that UserInfo was asked with."""
        self.expires_in: object = 300
        self.failure: tuple[int, dict[str, Any] | str] | None = None
        """What every endpoint but discovery answers instead."""
        self.jwks: tuple[int, str] = (200, json.dumps({"keys": [KEY.as_dict(private=False)]}))
        """Status and body of the keys."""
        self.token_answers: list[Answer] = []
        """What the token endpoint says first, in this order, without looking at what was sent."""
        self.key_id: str | None = KEY.kid
        """What ID tokens name as their key; None: nothing."""
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
            "revocation_endpoint": f"{ISSUER}/revoke",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "end_session_endpoint": f"{ISSUER}/end",
        }

    @contextmanager
    def serve(self) -> Iterator[Self]:
        """Takes the place of the network while the block runs."""
        with responses.RequestsMock(assert_all_requests_are_fired=False) as network:
            discovery = f"{ISSUER}/.well-known/openid-configuration"
            network.add_callback(responses.GET, discovery, callback=self._tell_metadata)
            network.add_callback(responses.GET, f"{ISSUER}/jwks", callback=self._tell_keys)
            network.add_callback(responses.POST, f"{ISSUER}/token", callback=self._give_token)
            network.add_callback(responses.POST, f"{ISSUER}/revoke", callback=self._revoke)
            network.add_callback(responses.GET, f"{ISSUER}/userinfo", callback=self._tell_userinfo)
            yield self

    def log_in(self, authorization_url: str, subject: str = "alice") -> list[tuple[str, str]]:
        """Returns what comes to the redirect URI once the user has logged in here."""
        request = dict(parse_qsl(urlsplit(authorization_url).query))
        self.logins += 1
        code = f"code-{self.logins}"
        self.codes[code] = {**request, "sub": subject}
        return [("state", request["state"]), ("code", code)]

    def _tell_metadata(self, _request: requests.PreparedRequest) -> Answer:
        return 200, {}, json.dumps(self.metadata)

    def _tell_keys(self, _request: requests.PreparedRequest) -> Answer:
        return self.jwks[0], {}, self.jwks[1]

    def _give_token(self, request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        self.forms.append(dict(parse_qsl(request.body.decode(), strict_parsing=True)))
        self.jkts.append(self._read_proof(request.headers.get("DPoP")))
        number = len(self.forms)
        self.may_answer.wait(10)
        if self.token_answers:
            return self.token_answers.pop(0)
        if self.failure is not None:
            status, body = self.failure
            return status, {}, body if isinstance(body, str) else json.dumps(body)
        token_type = "DPoP" if self.jkts[-1] and self.binds_tokens else "Bearer"
        document = {"access_token": f"token-{number}", "token_type": token_type, "expires_in": self.expires_in}
        if self.forms[-1]["grant_type"] == "authorization_code":
            login = self.codes.pop(self.forms[-1]["code"], None)
            if login is None:
                return 400, {}, json.dumps({"error": "invalid_grant"})
            self.refresh_token = f"refresh-{number}"
            document |= {"refresh_token": self.refresh_token, "id_token": self._sign_id_token(login)}
        if self.forms[-1]["grant_type"] == "refresh_token":
            if self.forms[-1]["refresh_token"] != self.refresh_token:
                self.refresh_token = None
                return 400, {}, json.dumps({"error": "invalid_grant"})
            self.refresh_token = f"refresh-{number}"
            document["refresh_token"] = self.refresh_token
        if self.forms[-1].get("resource") in self.refused_audiences:
            return 400, {}, json.dumps({"error": "invalid_target"})
        document |= self.token_changes
        return 200, {}, json.dumps({name: value for name, value in document.items() if value is not None})

    def _read_proof(self, proof: str | None) -> str | None:
        if proof is None:
            return None
        key = ECKey.import_key(jws.extract_compact(proof.encode()).headers()["jwk"])
        claims = jwt.decode(proof, key, algorithms=["ES256"]).claims
        assert (claims["htm"], claims["htu"]) == ("POST", f"{ISSUER}/token")
        return str(key.thumbprint())

    def _sign_id_token(self, login: dict[str, str]) -> str:
        return self.sign_id_token(sub=login["sub"], nonce=login["nonce"])

    def sign_id_token(self, **claims: object) -> str:
        """An ID token for this client that is good for five minutes, with `claims` laid over it."""
        now = int(self.clock())
        claims = {"iss": ISSUER, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **claims, **self.claims}
        header = {"alg": "ES256"} if self.key_id is None else {"alg": "ES256", "kid": self.key_id}
        return jws.serialize_compact(header, json.dumps(claims), KEY, algorithms=["ES256"])

    def _tell_userinfo(self, request: requests.PreparedRequest) -> Answer:
        self.userinfo_tokens.append(str(request.headers["Authorization"]).removeprefix("Bearer "))
        if self.userinfo_failure is not None:
            return self.userinfo_failure[0], {}, self.userinfo_failure[1]
        return 200, {}, json.dumps(self.userinfo)

    def _revoke(self, request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        self.may_answer.wait(10)
        if self.failure is not None:
            return self.failure[0], {}, ""
        self.revoked.append(dict(parse_qsl(request.body.decode()))["token"])
        return 200, {}, ""
