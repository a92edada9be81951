"""One signing key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

Algorithm = Literal["ES256", "PS256", "RS256", "Ed25519"]
KeyState = Literal["next", "current", "retired"]
"""All three are published. `next` does not sign yet, `current` does, `retired` does no more."""

_RSA_BITS = 3072
"""NIST SP 800-57: 128 bits of security, as the elliptic-curve keys have."""
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"})


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and what is known about it; its repr shows nothing secret. Times are epoch seconds."""

    kid: str
    """RFC 7638 thumbprint: the same key has the same name everywhere."""
    algorithm: Algorithm
    state: KeyState
    created_at: float
    """Since when it has been published."""
    state_since: float
    """When it became what `state` says."""
    private_key: Key = field(repr=False, compare=False)

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public half for the JWKS. Built from named members, so that no private one can slip in."""
        members = self.private_key.as_dict(private=False) | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        return {name: str(value) for name, value in members.items() if name in _PUBLIC_MEMBERS}


def generate_signing_key(algorithm: Algorithm, state: KeyState, now: float) -> SigningKey:
    """Makes a new key; for RSA this takes some tenths of a second."""
    private_key = _generate_private_key(algorithm)
    return SigningKey(private_key.thumbprint(), algorithm, state, now, now, private_key)


def _generate_private_key(algorithm: Algorithm) -> Key:
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", private=True)
    if algorithm == "Ed25519":
        return OKPKey.generate_key("Ed25519", private=True)
    return RSAKey.generate_key(_RSA_BITS, private=True)
