"""A resource server that takes bound tokens only, and checks each proof as RFC 9449 §4.3 and §7 say."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey

from tests.support.raw_backend import Conversation, RawBackend, RecordedRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n%b\r\n{}"
REFUSAL = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: DPoP algs="ES256", error="%b"\r\nContent-Length: 0\r\n%b\r\n'


class ProofRefusedError(Exception):
    """Its text is the `error` of the challenge."""


@dataclass
class DpopBackend:
    """Used as the script of a `RawBackend`. `nonce` is what a proof must hold now, None: none is asked for."""

    nonce: str | None = None
    next_nonce: str | None = None
    """Told with every good answer, and asked for from then on."""
    now: float | None = None
    url: str = ""
    accepted: list[dict[str, Any]] = field(default_factory=list)
    """The claims of every proof that was good, with the key's thumbprint as `jkt` and the `token`."""
    refusals: list[str] = field(default_factory=list)
    proofs: list[str] = field(default_factory=list)

    def __call__(self, conversation: Conversation) -> None:
        while True:
            request = conversation.read_request()
            conversation.send(self.answer(request))

    def serve(self) -> RawBackend:
        backend = RawBackend(self)
        self.url = backend.url
        return backend

    def answer(self, request: RecordedRequest) -> bytes:
        try:
            self.accepted.append(self._check(request))
        except ProofRefusedError as refusal:
            self.refusals.append(str(refusal))
            line = b"DPoP-Nonce: %b\r\n" % self.nonce.encode() if self.nonce is not None else b""
            return REFUSAL % (str(refusal).encode(), line)
        if self.next_nonce is None:
            return OK % b""
        self.nonce, self.next_nonce = self.next_nonce, None
        return OK % (b"DPoP-Nonce: %b\r\n" % self.nonce.encode())

    def _check(self, request: RecordedRequest) -> dict[str, Any]:
        token, proof = self._read_single(request, "Authorization"), self._read_single(request, "DPoP")
        scheme, _, token = token.partition(" ")
        self._require(scheme == "DPoP" and bool(token), "invalid_token")
        self.proofs.append(proof)
        header = jws.extract_compact(proof.encode()).headers()
        self._require(set(header) == {"typ", "alg", "jwk"} and header["typ"] == "dpop+jwt", "invalid_dpop_proof")
        self._require("d" not in header["jwk"], "invalid_dpop_proof")
        key = ECKey.import_key(header["jwk"])
        claims = jwt.decode(proof, key, algorithms=["ES256"]).claims
        method, target, _ = request.request_line.decode().split(" ")
        self._require(claims["htm"] == method, "invalid_dpop_proof")
        self._require(claims["htu"] == self.url + target.partition("?")[0], "invalid_dpop_proof")
        self._require(abs(claims["iat"] - (self.now or time.time())) < 60, "invalid_dpop_proof")
        self._require(claims["jti"] not in {known["jti"] for known in self.accepted}, "invalid_dpop_proof")
        digest = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        self._require(claims["ath"] == digest, "invalid_dpop_proof")
        self._require(self.nonce is None or claims.get("nonce") == self.nonce, "use_dpop_nonce")
        jkt = str(key.thumbprint())
        self._check_confirmation(token, jkt)
        return {**claims, "jkt": jkt, "token": token}

    def _check_confirmation(self, token: str, jkt: str) -> None:
        """A token that is a JWT says which key it is bound to; whether its signature is good is not looked at."""
        if token.count(".") == 2:
            claims = json.loads(jws.extract_compact(token.encode()).payload)
            self._require(claims["cnf"]["jkt"] == jkt, "invalid_token")

    def _read_single(self, request: RecordedRequest, name: str) -> str:
        values = request.get_all(name)
        self._require(len(values) == 1, "invalid_request")
        return values[0].decode()

    def _require(self, condition: bool, error: str) -> None:
        if not condition:
            raise ProofRefusedError(error)
