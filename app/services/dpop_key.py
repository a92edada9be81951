"""Keys that tokens are bound to (RFC 9449), and the proofs that are made with them.

A key never leaves the BFF's sealed records: it is made at a login and lies beside the tokens it belongs to. Proofs are
for one request each: a new `jti` every time, the URL that is really called, and at a resource a hash of the token.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

ALGORITHM = "ES256"
_MAX_OPEN_KEYS = 1024
"""Reading a key costs as much as a proof, so those in use are kept open."""


class DpopKeyError(Exception):
    """A kept key cannot be read."""


@dataclass(frozen=True, slots=True)
class DpopKey:
    """A key pair of ours for one session, or for the BFF's own tokens."""

    thumbprint: str
    """RFC 7638; what a bound token holds as `cnf.jkt`."""
    text: str = field(repr=False)
    """The private key as it is kept, in a sealed record and nowhere else."""
    private_key: ECKey = field(repr=False)
    public_jwk: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class BoundToken:
    """An access token that is good only with a proof of its key."""

    access_token: str = field(repr=False)
    key: DpopKey


AccessToken = str | BoundToken
"""A token as it is used: text goes as `Bearer`, and costs nothing more."""


def generate_dpop_key() -> DpopKey:
    return _build_key(ECKey.generate_key("P-256", private=True))


@lru_cache(maxsize=_MAX_OPEN_KEYS)
def parse_dpop_key(text: str) -> DpopKey:
    """Reads a key as `DpopKey.text` holds it; raises `DpopKeyError`."""
    try:
        key = ECKey.import_key(json.loads(text))
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        # The class alone: the text of such an error can hold the key.
        raise DpopKeyError(f"a kept DPoP key cannot be read ({type(error).__name__})") from None
    if not key.is_private or key.curve_name != "P-256":
        raise DpopKeyError("a kept DPoP key is of another kind")
    return _build_key(key)


def build_proof(
    key: DpopKey, method: str, url: str, *, now: float, nonce: str | None = None, access_token: str | None = None
) -> str:
    """Returns a proof for one request (RFC 9449 §4.2). `url` is what is called; its query and fragment are left out."""
    claims: dict[str, object] = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": int(now),
    }
    if access_token is not None:
        claims["ath"] = hash_access_token(access_token)
    if nonce is not None:
        claims["nonce"] = nonce
    header = {"typ": "dpop+jwt", "alg": ALGORITHM, "jwk": key.public_jwk}
    return jwt.encode(header, claims, key.private_key, algorithms=[ALGORITHM])


def hash_access_token(access_token: str) -> str:
    """Returns the value of `ath` (RFC 9449 §4.2)."""
    return urlsafe_b64encode(sha256(access_token.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def get_origin(url: str) -> str:
    """Returns scheme, host and port of a URL: whom a nonce is from."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _build_key(key: ECKey) -> DpopKey:
    # Named members, so that no private one can slip in.
    public_jwk = {name: str(key.as_dict(private=False)[name]) for name in ("kty", "crv", "x", "y")}
    return DpopKey(key.thumbprint(), json.dumps(key.as_dict(private=True)), key, public_jwk)
