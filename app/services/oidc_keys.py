"""The provider's signing keys, and signatures checked with them (RFC 7515, RFC 7517).

Algorithms are an allow-list that is passed on explicitly; `none` and every HMAC are not on it (T1). Of a published key
only the public numbers of its type are read, so a key can never be used for what it was not published for. A key id
that we do not know is worth one look at the provider, and not more often than every few seconds.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int, urlsafe_b64decode

from app.core.errors import IdpUnavailableError
from app.services.control_http import ControlHttp, ControlUnreachableError
from app.services.oidc_answers import AnswerRefusedError, parse_json_object
from app.services.oidc_document_cache import CacheTimes, DocumentCache

TIMES = CacheTimes(lifetime=3600, stale_lifetime=3600, back_off=5)
MAX_TOKEN_BYTES = 64 * 1024
MAX_KEYS = 100
RSA_BITS = range(2048, 8193)
"""RFC 7518 §3.3 asks for 2048 at least; more than 8192 only costs us time."""

ALGORITHMS = ("ES256", "PS256", "RS256", "Ed25519", "EdDSA")
KEY_SHAPES: Mapping[str, tuple[str, str | None]] = {
    "ES256": ("EC", "P-256"),
    "PS256": ("RSA", None),
    "RS256": ("RSA", None),
    "Ed25519": ("OKP", "Ed25519"),
    "EdDSA": ("OKP", "Ed25519"),
}
KEY_CLASSES: Mapping[str, tuple[type[ECKey | RSAKey | OKPKey], tuple[str, ...]]] = {
    "EC": (ECKey, ("kty", "crv", "x", "y")),
    "RSA": (RSAKey, ("kty", "n", "e")),
    "OKP": (OKPKey, ("kty", "crv", "x")),
}

Jwk = Mapping[str, object]


class SignatureRefusedError(Exception):
    """The token is not one that the provider signed for us to believe. The text is for operators."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A JWT in compact form, taken apart but not believed: see `verify_signature`."""

    raw: str = field(repr=False)
    algorithm: str
    key_id: str | None
    token_type: object = None
    """The header's `typ` as it stands there, whatever it is."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token says whose signature was found good; the claims are the caller's to judge."""

    algorithm: str
    claims: dict[str, object] = field(repr=False)
    token_type: object = None


class _Registry(jws.JWSRegistry):
    """joserfc's registry with our list, with room for header members we need not know, and without a warning.

    `EdDSA` is checked as `Ed25519`: the same operation, bound to its one curve, and joserfc warns of the old name.
    """

    max_header_length = 16 * 1024
    max_payload_length = MAX_TOKEN_BYTES
    max_signature_length = 4 * 1024

    def get_alg(self, name: str) -> Any:
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


def parse_signed_token(raw_token: str) -> SignedToken:
    """Reads the header of a compact JWS; raises `SignatureRefusedError` for what we would never accept."""
    if len(raw_token) > MAX_TOKEN_BYTES:
        raise SignatureRefusedError("the token is larger than 64 KiB")
    if raw_token.count(".") != 2:
        raise SignatureRefusedError("the token is not a signed JWT")
    header = _parse_segment(raw_token.partition(".")[0])
    if "crit" in header or "b64" in header:
        raise SignatureRefusedError("the token asks for an extension that is not known here")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise SignatureRefusedError("the token's algorithm is not allowed")
    if key_id is not None and not isinstance(key_id, str):
        raise SignatureRefusedError("the token's kid is not a string")
    return SignedToken(raw_token, algorithm, key_id, header.get("typ"))


def find_unverified_claims(raw_token: str) -> dict[str, object] | None:
    """Returns what a token says before anybody has checked that it may: only to find where it belongs.

    None for what is not a JWT that could be read.
    """
    if raw_token.count(".") != 2 or len(raw_token) > MAX_TOKEN_BYTES:
        return None
    try:
        return _parse_segment(raw_token.split(".")[1])
    except SignatureRefusedError:
        return None


def find_key(keys: Sequence[Jwk], token: SignedToken) -> Jwk | None:
    """Returns the published key for `token`: by its kid, or, without one, the only key that fits its algorithm."""
    fitting = [key for key in keys if _fits(key, token.algorithm)]
    if token.key_id is not None:
        return next((key for key in fitting if key.get("kid") == token.key_id), None)
    return fitting[0] if len(fitting) == 1 else None


def verify_signature(token: SignedToken, key: Jwk) -> VerifiedToken:
    """Checks the signature only; raises `SignatureRefusedError`. Claims are the caller's."""
    try:
        key_class, members = KEY_CLASSES[str(key["kty"])]
        public_key = key_class.import_key({name: str(key[name]) for name in members})
        verified = jws.deserialize_compact(token.raw, public_key, algorithms=list(ALGORITHMS), registry=_REGISTRY)
        claims = parse_json_object(verified.payload)
    except (JoseError, AnswerRefusedError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        raise SignatureRefusedError(f"the signature is not good ({type(error).__name__})") from error
    return VerifiedToken(token.algorithm, claims, token.token_type)


class KeySource:
    """The published keys, cached, and the signatures checked with them."""

    def __init__(
        self,
        *,
        http: ControlHttp,
        clock: Callable[[], float],
        get_jwks_uri: Callable[[], str],
        times: CacheTimes = TIMES,
    ) -> None:
        self._http = http
        self._get_jwks_uri = get_jwks_uri
        self._cache = DocumentCache(self._fetch, clock=clock, times=times)

    def get(self) -> tuple[Jwk, ...]:
        """Returns the keys, fetched now if need be; raises `IdpUnavailableError`."""
        return self._cache.get()

    def verify(self, raw_token: str) -> VerifiedToken:
        """Raises `SignatureRefusedError` for a token, `IdpUnavailableError` when the keys cannot be had."""
        token = parse_signed_token(raw_token)
        keys = self._cache.get()
        key = find_key(keys, token) or find_key(self._cache.get_newer(keys), token)
        if key is None:
            raise SignatureRefusedError("no published key fits the token")
        return verify_signature(token, key)

    def _fetch(self) -> tuple[Jwk, ...]:
        try:
            answer = self._http.fetch("GET", self._get_jwks_uri())
            if answer.status != 200:
                raise AnswerRefusedError(f"status {answer.status}")
            return parse_key_set(parse_json_object(answer.body))
        except (ControlUnreachableError, AnswerRefusedError) as error:
            raise IdpUnavailableError(internal_reason=f"jwks: {error}") from error


def parse_key_set(document: Mapping[str, object]) -> tuple[Jwk, ...]:
    """Returns the keys of a JWK Set; a key of a kind that is not known here is no fault (RFC 7517 §5)."""
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise AnswerRefusedError("the key set holds no list of keys")
    return tuple(key for key in keys[:MAX_KEYS] if isinstance(key, dict))


def _fits(key: Jwk, algorithm: str) -> bool:
    """Tells whether a key was published for signatures with `algorithm` (RFC 7517 §4.2 to §4.4)."""
    key_type, curve = KEY_SHAPES[algorithm]
    if key.get("kty") != key_type or (curve is not None and key.get("crv") != curve):
        return False
    if key.get("use", "sig") != "sig":
        return False
    operations = key.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return False
    if not _is_same_algorithm(key.get("alg", algorithm), algorithm):
        return False
    return key_type != "RSA" or _has_allowed_size(key)


def _is_same_algorithm(published: object, used: str) -> bool:
    """RFC 9864 renamed `EdDSA`; a provider may publish one name and sign with the other."""
    edwards = ("EdDSA", "Ed25519")
    return published == used or (published in edwards and used in edwards)


def _has_allowed_size(key: Jwk) -> bool:
    modulus = key.get("n")
    if not isinstance(modulus, str) or len(modulus) > 2048:
        return False
    try:
        return base64_to_int(modulus).bit_length() in RSA_BITS
    except (ValueError, binascii.Error):
        return False


def _parse_segment(segment: str) -> dict[str, object]:
    try:
        members = json.loads(urlsafe_b64decode(segment.encode("ascii")))
    except (ValueError, RecursionError) as error:
        raise SignatureRefusedError("a part of the token cannot be read") from error
    if not isinstance(members, dict):
        raise SignatureRefusedError("a part of the token is not an object")
    return members
