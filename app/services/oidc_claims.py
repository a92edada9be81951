"""Chooses what a session keeps of the claims about a user: what the settings name, and nothing else.

What is not kept cannot leak, and the session record is read on every call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.core.errors import LoginFailedError
from app.settings import Configuration

MAX_CLAIMS_BYTES = 32 * 1024
MAX_TEXT_CHARACTERS = 255

PROTOCOL_CLAIMS = frozenset(
    {"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "nonce", "azp", "at_hash", "c_hash", "s_hash"}
    | {"auth_time", "acr", "amr", "sid"}
)
"""These speak of the token or of the authentication, so only the ID token may say them, never UserInfo."""


@dataclass(frozen=True, slots=True)
class ClaimSelection:
    """Which claims a session keeps, from settings."""

    role_sources: Sequence[str]
    permission_sources: Sequence[str]
    kept: Sequence[str]

    @classmethod
    def from_configuration(cls, configuration: Configuration) -> ClaimSelection:
        settings = configuration.settings
        return cls(
            role_sources=settings.oidc.claims.roles,
            permission_sources=settings.oidc.claims.permissions,
            kept=tuple(dict.fromkeys((*settings.session.user_claims, *configuration.pdp.subject_claims))),
        )


def merge_userinfo(id_token_claims: Mapping[str, object], userinfo: Mapping[str, object]) -> dict[str, object]:
    """Returns the ID token's claims with what UserInfo adds about the person; the subjects were compared before."""
    about_person = {name: value for name, value in userinfo.items() if name not in PROTOCOL_CLAIMS}
    return {**id_token_claims, **about_person}


def require_user_id(claims: Mapping[str, object], claim: str) -> str:
    """Returns the user's id; raises `LoginFailedError` where the claim cannot serve as one."""
    user_id = claims.get(claim)
    if not isinstance(user_id, str) or not 0 < len(user_id) <= MAX_TEXT_CHARACTERS:
        raise LoginFailedError(internal_reason=f"the claim {claim} is no string, or not of a usable length")
    if not user_id.isprintable() or user_id != user_id.strip():
        raise LoginFailedError(internal_reason=f"the claim {claim} holds characters that a user's id may not have")
    return user_id


def select_claims(claims: Mapping[str, object], selection: ClaimSelection) -> dict[str, object]:
    """Returns what the session keeps; roles and permissions are always there, as lists of strings."""
    kept = {name: claims[name] for name in selection.kept if name in claims}
    kept["roles"] = read_names(claims, selection.role_sources)
    kept["permissions"] = read_names(claims, selection.permission_sources)
    _check_size(kept)
    return kept


def update_claims(
    kept: Mapping[str, object], claims: Mapping[str, object], selection: ClaimSelection
) -> dict[str, object]:
    """Returns what a session kept, with what is said now in the place of what was said under the same name."""
    updated = {**kept, **{name: claims[name] for name in selection.kept if name in claims}}
    for name, sources in (("roles", selection.role_sources), ("permissions", selection.permission_sources)):
        updated[name] = read_names(claims, sources) if _is_said(claims, sources) else kept.get(name, [])
    _check_size(updated)
    return updated


def read_names(claims: Mapping[str, object], sources: Iterable[str]) -> list[str]:
    """Returns the names in the first source that is there: a list of strings, or one string parted by spaces.

    A source is a claim's name, or a path with dots into nested claims (`realm_access.roles`); the name goes first,
    because names that are URLs have dots too.
    """
    for source in sources:
        value = _find_claim(claims, source)
        if isinstance(value, str):
            return list(dict.fromkeys(value.split()))
        if isinstance(value, list):
            return list(dict.fromkeys(name for name in value if isinstance(name, str)))
    return []


def read_text(claims: Mapping[str, object], name: str) -> str:
    """Returns a short string claim such as `acr` or `sid`, or an empty string."""
    value = claims.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_TEXT_CHARACTERS else ""


def _check_size(kept: Mapping[str, object]) -> None:
    if len(json.dumps(kept)) > MAX_CLAIMS_BYTES:
        raise LoginFailedError(internal_reason="the claims to keep are larger than 32 KiB")


def _is_said(claims: Mapping[str, object], sources: Iterable[str]) -> bool:
    """Whether one of the sources is there, in whatever shape: a `null` says that there are no names any more."""
    return any(source in claims or _find_claim(claims, source) is not None for source in sources)


def _find_claim(claims: Mapping[str, object], source: str) -> object:
    if source in claims:
        return claims[source]
    found: object = claims
    for step in source.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found
