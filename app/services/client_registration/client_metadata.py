"""What the BFF asks to be registered as (RFC 7591 §2, OpenID Connect Registration 1.0 §2), and how that is compared
with what a provider has. Pure.

A provider may leave out members that it does not know, put in defaults and members of its own, and choose other values
than were asked for. So two things are remembered of the last write: what was asked, and what the provider made of it.
As long as neither has changed there is nothing to write, however much the two differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from app.core.routes import Service
from app.services.login_flow import CALLBACK_PATH
from app.services.logout_flow import LOGGED_OUT_PATH
from app.services.oidc_metadata import ProviderMetadata
from app.settings import Settings

ClientMetadata = Mapping[str, object]

AUTH_METHOD = "private_key_jwt"
JWKS_PATH = "/.well-known/jwks.json"
BACKCHANNEL_LOGOUT_PATH = "/auth/backchannel-logout"
TOKEN_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type's name
_DEFAULT_ALGORITHM = "RS256"
"""OpenID Connect Registration 1.0 §2, JARM §3."""
_OTHER_ALGORITHMS = ("ES256", "PS256", "Ed25519", "EdDSA")

_NOT_TO_BE_SENT = frozenset(
    {
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
        "client_secret",
        # By value or by reference, never both (RFC 7591 §2); ours are by reference.
        "jwks",
    }
)
"""RFC 7592 §2.2 forbids the first four in an update. A secret is none of ours: some providers issue one unasked."""


def build_client_metadata(
    settings: Settings, services: Iterable[Service], provider: ProviderMetadata, key_algorithms: Iterable[str]
) -> dict[str, object]:
    """Returns what this deployment wants to be registered as. `key_algorithms`: of every key that is published."""
    origins = (settings.server.origin, *settings.server.allowed_hosts)
    services = tuple(services)
    wanted: dict[str, object] = {
        "client_name": settings.oidc.dcr.client_name,
        "token_endpoint_auth_method": AUTH_METHOD,
        "jwks_uri": settings.server.origin + JWKS_PATH,
        "redirect_uris": [origin + CALLBACK_PATH for origin in origins],
        "post_logout_redirect_uris": [origin + LOGGED_OUT_PATH for origin in origins],
        "backchannel_logout_uri": settings.server.origin + BACKCHANNEL_LOGOUT_PATH,
        "backchannel_logout_session_required": True,
        "response_types": ["code"],
        "grant_types": _list_grant_types(services, provider),
        "scope": " ".join(_list_scopes(settings, services)),
    }
    algorithms = set(key_algorithms)
    if len(algorithms) == 1:
        # While the keys change from one algorithm to another nothing is pinned: then either may sign.
        wanted["token_endpoint_auth_signing_alg"] = algorithms.pop()
    if algorithm := _choose_algorithm(provider.id_token_signing_algorithms):
        wanted["id_token_signed_response_alg"] = algorithm
    if settings.oidc.response_mode == "query.jwt" and (
        algorithm := _choose_algorithm(provider.authorization_signing_algorithms)
    ):
        wanted["authorization_signed_response_alg"] = algorithm
    if settings.oidc.par == "required":
        wanted["require_pushed_authorization_requests"] = True
    if settings.oidc.dpop and all(service.token.is_bound for service in services if service.token.mode != "none"):
        # A provider refuses a client that is registered so every request without a proof (RFC 9449 §5.2).
        wanted["dpop_bound_access_tokens"] = True
    return wanted


def build_fingerprint(metadata: ClientMetadata) -> str:
    """The same for the same metadata, whatever their order."""
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def select_members(document: ClientMetadata, names: Iterable[str]) -> dict[str, object]:
    """What a provider's document says about these names; None where it says nothing."""
    return {name: document.get(name) for name in names}


def find_differences(document: ClientMetadata, wanted: ClientMetadata, asked: ClientMetadata) -> tuple[str, ...]:
    """The members of ours in which a provider's document is not what we want. `asked`: what we wanted the last time;
    what was among it and is wanted no more differs as long as it is there."""
    names = sorted({*wanted, *asked})
    return tuple(name for name in names if _normalise(name, document.get(name)) != _normalise(name, wanted.get(name)))


def is_same(document: ClientMetadata, other: ClientMetadata) -> bool:
    """Whether two selections say the same, in whatever order."""
    return not find_differences(document, other, document)


def build_update(
    document: ClientMetadata, client_id: str, wanted: ClientMetadata, asked: ClientMetadata
) -> dict[str, object]:
    """Returns the body of an update: everything the provider has, with our wishes laid over it (RFC 7592 §2.2). What it
    does not hold the provider may delete, so members that it put in itself go back as they came."""
    dropped = {*_NOT_TO_BE_SENT, *(name for name in asked if name not in wanted)}
    kept = {name: value for name, value in document.items() if name not in dropped and value is not None}
    return {**kept, **wanted, "client_id": client_id}


def _list_grant_types(services: Iterable[Service], provider: ProviderMetadata) -> list[str]:
    """Refreshing is left out where the provider says that it has none: such a one may refuse the registration for it.
    What a service needs is asked for all the same, so that the refusal tells."""
    modes = {service.token.mode for service in services}
    grants = ["authorization_code"]
    if not provider.grant_types or "refresh_token" in provider.grant_types:
        grants.append("refresh_token")
    if "client_credentials" in modes:
        grants.append("client_credentials")
    if "exchange" in modes:
        grants.append(TOKEN_EXCHANGE_GRANT)
    return grants


def _list_scopes(settings: Settings, services: Iterable[Service]) -> list[str]:
    """Those asked for at login, and those of the tokens for services: a client may ask for no other (RFC 7591 §2)."""
    of_services = (word for service in services for word in service.token.scope.split())
    return list(dict.fromkeys((*settings.oidc.scopes, *of_services)))


def _choose_algorithm(supported: tuple[str, ...]) -> str:
    """What the provider signs with for us, only where the default will not do."""
    if not supported or _DEFAULT_ALGORITHM in supported:
        return ""
    return next((algorithm for algorithm in _OTHER_ALGORITHMS if algorithm in supported), "")


def _normalise(name: str, value: object) -> object:
    """Lists and scopes have no order; false is what is not there."""
    if name == "scope" and isinstance(value, str):
        return frozenset(value.split()) or None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return frozenset(value) or None
    return None if value is False or value == "" else value
