"""What a user's access token is for: the name under which a session's record holds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256

from app.core.routes import Service, TokenMode

USER_TARGET_KEY = ""


@dataclass(frozen=True)
class TokenTarget:
    """One service, audience and scope. A token made for one target is never used for another (T22)."""

    mode: TokenMode
    """`user`, `resource` or `exchange`."""
    audience: str
    scope: str
    is_bound: bool
    """Whether it is asked for with a proof (RFC 9449). Means nothing for the token that came with the login."""
    key: str
    """Empty for the token that came with the login, else a hash of everything above and the service's name."""


USER_TARGET = TokenTarget("user", "", "", is_bound=False, key=USER_TARGET_KEY)


def needs_user_tokens(service: Service) -> bool:
    """Whether calls to it carry a token that was made for the user at hand."""
    return service.token.mode in ("user", "resource", "exchange")


def build_token_target(service: Service) -> TokenTarget:
    """Returns what a call to `service` needs of the user's tokens."""
    token = service.token
    if token.mode == "user":
        return USER_TARGET
    # Packed as JSON, so that no two targets read the same.
    packed = json.dumps([token.mode, service.name, token.audience, token.scope, *(["dpop"] if token.is_bound else [])])
    key = sha256(packed.encode()).hexdigest()
    return TokenTarget(token.mode, token.audience, token.scope, token.is_bound, key)
