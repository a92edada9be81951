"""What the BFF asks to be registered as, from its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.core.routes import Service, ServiceToken
from app.services.client_registration.client_metadata import (
    build_client_metadata,
    build_update,
    find_differences,
)
from app.services.oidc_metadata import ProviderMetadata
from app.settings import Settings

ISSUER = "https://idp.example.com"
PROVIDER = ProviderMetadata(ISSUER, f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/jwks")


def build_service(mode: Any, scope: str = "") -> Service:
    token = ServiceToken(mode, "urn:api", scope)
    return Service("api", ("http://api",), token, 1, 1, 0, 0, 1, 1, 1)


def build(
    *services: Service, provider: ProviderMetadata = PROVIDER, algorithms: tuple[str, ...] = ("ES256",), **sections: Any
) -> dict[str, Any]:
    server = {"public_url": "https://app.example.com", **sections.get("server", {})}
    oidc = {"issuer": ISSUER, "dcr": {"enabled": True}, **sections.get("oidc", {})}
    settings = Settings.model_validate({"server": server, "oidc": oidc})
    return build_client_metadata(settings, services, provider, algorithms)


def test_each_host_has_a_callback_of_its_own() -> None:
    wanted = build(server={"allowed_hosts": ["https://b.example.com"]})
    assert wanted["redirect_uris"] == [
        "https://app.example.com/auth/callback",
        "https://b.example.com/auth/callback",
    ]
    assert wanted["post_logout_redirect_uris"] == [
        "https://app.example.com/auth/logged-out",
        "https://b.example.com/auth/logged-out",
    ]
    assert wanted["jwks_uri"] == "https://app.example.com/.well-known/jwks.json"


def test_grants_and_scopes_follow_the_services() -> None:
    wanted = build(build_service("client_credentials", "a b"), build_service("exchange", "b c"), build_service("user"))
    assert wanted["grant_types"] == [
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ]
    assert wanted["scope"] == "openid profile email offline_access a b c"


@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        ((), ["authorization_code", "refresh_token"]),
        (("refresh_token", "authorization_code"), ["authorization_code", "refresh_token"]),
        (("authorization_code", "implicit"), ["authorization_code"]),
    ],
    ids=["nothing-said", "offered", "not-offered"],
)
def test_refreshing_is_asked_for_unless_the_provider_says_it_has_none(
    offered: tuple[str, ...], asked: list[str]
) -> None:
    assert build(provider=replace(PROVIDER, grant_types=offered))["grant_types"] == asked


def test_while_the_keys_change_to_another_algorithm_none_is_pinned() -> None:
    """Both sign in that time; the provider refuses what is not the pinned one."""
    assert build(algorithms=("ES256", "ES256"))["token_endpoint_auth_signing_alg"] == "ES256"
    assert "token_endpoint_auth_signing_alg" not in build(algorithms=("ES256", "PS256"))


@pytest.mark.parametrize(
    ("supported", "chosen"),
    [
        ((), None),
        (("PS256", "RS256"), None),
        (("PS256", "ES256"), "ES256"),
        (("EdDSA",), "EdDSA"),
        (("HS256", "none"), None),
    ],
)
def test_an_algorithm_for_what_the_provider_signs_is_named_only_where_the_default_will_not_do(
    supported: tuple[str, ...], chosen: str | None
) -> None:
    provider = replace(PROVIDER, id_token_signing_algorithms=supported, authorization_signing_algorithms=supported)
    assert build(provider=provider).get("id_token_signed_response_alg") == chosen
    assert build(provider=provider).get("authorization_signed_response_alg") is None
    signed = build(provider=provider, oidc={"response_mode": "query.jwt"})
    assert signed.get("authorization_signed_response_alg") == chosen


def test_what_the_settings_demand_of_every_login_is_demanded_of_the_client_too() -> None:
    assert "require_pushed_authorization_requests" not in build()
    assert build(oidc={"par": "required"})["require_pushed_authorization_requests"] is True
    assert build(oidc={"dpop": True})["dpop_bound_access_tokens"] is True


@pytest.mark.parametrize(
    ("document", "wanted", "differing"),
    [
        ({"scope": "b a"}, {"scope": "a b"}, ()),
        ({"grant_types": ["b", "a"]}, {"grant_types": ["a", "b"]}, ()),
        ({"require_pushed_authorization_requests": False}, {}, ()),
        ({"scope": ""}, {}, ()),
        ({"scope": "a b c"}, {"scope": "a b"}, ("scope",)),
        ({"backchannel_logout_session_required": False}, {"backchannel_logout_session_required": True},
         ("backchannel_logout_session_required",)),
        ({"x": 1}, {}, ()),
        ({"redirect_uris": [{}]}, {"redirect_uris": ["a"]}, ("redirect_uris",)),
    ],
)  # fmt: skip
def test_only_what_matters_differs(
    document: dict[str, Any], wanted: dict[str, Any], differing: tuple[str, ...]
) -> None:
    assert find_differences(document, wanted, {}) == differing


def test_an_update_takes_nothing_along_that_was_taken_back() -> None:
    document = {"client_id": "c", "a": 1, "b": 2, "x": 3, "registration_access_token": "t"}
    assert build_update(document, "c", {"a": 9}, {"a": 1, "b": 2}) == {"client_id": "c", "a": 9, "x": 3}
