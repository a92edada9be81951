"""idps.yaml and `auth: bearer`: what cannot work, or would confuse two people, is refused at start."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

SIGNED: dict[str, Any] = {
    "name": "partners",
    "issuer": "https://partners.example.com",
    "audience": "https://app.example.com",
    "jwks_url": "https://partners.example.com/jwks",
}
LOOKED_UP: dict[str, Any] = {
    "name": "lookup",
    "issuer": "https://lookup.example.com",
    "audience": "https://app.example.com",
    "introspection_url": "https://lookup.example.com/introspect",
    "client_id": "bff",
    "client_secret": GOOD_SECRET,
}
OF_THE_LOGIN = {**LOOKED_UP, "issuer": "https://idp.example.com", "client_id": "", "client_secret": ""}


@pytest.fixture
def bearer_folder(folder: ConfigFolder) -> ConfigFolder:
    folder.change_route(auth="bearer")
    folder.idps = {"idps": [SIGNED, LOOKED_UP]}
    return folder


def test_sound_entries_and_their_route_are_taken(bearer_folder: ConfigFolder) -> None:
    configuration = bearer_folder.load()
    assert [entry.name for entry in configuration.idps] == ["partners", "lookup"]
    assert configuration.warnings == ()


def test_the_login_provider_is_asked_with_the_bffs_own_client(bearer_folder: ConfigFolder) -> None:
    bearer_folder.idps = {"idps": [OF_THE_LOGIN]}
    assert bearer_folder.find_faults() == ()


@pytest.mark.parametrize(
    ("entries", "key"),
    [
        pytest.param([{**SIGNED, "introspection_url": "https://x.example.com/i"}], "idps[0].jwks_url", id="both"),
        pytest.param([{**SIGNED, "jwks_url": ""}], "idps[0].jwks_url", id="neither"),
        pytest.param([{**SIGNED, "jwks_url": "http://partners.example.com/jwks"}], "idps[0].jwks_url", id="http-keys"),
        pytest.param(
            [{**LOOKED_UP, "introspection_url": "http://lookup.example.com/i"}],
            "idps[0].introspection_url",
            id="http-introspection",
        ),
        pytest.param([{**LOOKED_UP, "client_id": "", "client_secret": ""}], "idps[0].client_id", id="no-client"),
        pytest.param([{**OF_THE_LOGIN, "client_secret": GOOD_SECRET}], "idps[0].client_id", id="secret-without-client"),
        pytest.param([{**LOOKED_UP, "client_secret": ""}], "idps[0].client_secret", id="no-secret"),
        pytest.param([SIGNED, {**LOOKED_UP, "name": "partners", "provider": "x"}], "idps[1].name", id="name-twice"),
        pytest.param([SIGNED, {**SIGNED, "name": "again"}], "idps[1].audience", id="same-issuer-and-audience"),
        pytest.param(
            [{**SIGNED, "provider": "p"}, {**LOOKED_UP, "provider": "p"}], "idps[1].provider", id="alias-of-two-issuers"
        ),
        pytest.param([{**SIGNED, "provider": "idp.example.com"}], "idps[0].provider", id="alias-of-the-login-provider"),
    ],
)
def test_an_entry_that_cannot_stand_is_refused(
    bearer_folder: ConfigFolder, entries: list[dict[str, Any]], key: str
) -> None:
    bearer_folder.idps = {"idps": entries}
    fault = bearer_folder.find_fault()
    assert (fault.file, fault.key) == ("idps.yaml", key)


def test_development_takes_http_on_loopback_only(bearer_folder: ConfigFolder) -> None:
    bearer_folder.change("environment", "development")
    bearer_folder.idps = {"idps": [{**SIGNED, "jwks_url": "http://localhost:9400/jwks"}]}
    assert bearer_folder.find_faults() == ()
    bearer_folder.idps = {"idps": [{**SIGNED, "jwks_url": "http://partners.example.com/jwks"}]}
    assert bearer_folder.find_fault().key == "idps[0].jwks_url"


def test_a_bearer_route_needs_an_issuer(bearer_folder: ConfigFolder) -> None:
    bearer_folder.idps = None
    assert bearer_folder.find_fault().key == "routes[0].auth"


@pytest.mark.parametrize("mode", ["resource", "exchange"])
def test_a_bearer_caller_has_no_login_to_make_tokens_from(bearer_folder: ConfigFolder, mode: str) -> None:
    bearer_folder.change_service("token", {"mode": mode, "audience": "urn:a"})
    fault = bearer_folder.find_fault()
    assert fault.key == "routes[0].auth"
    assert mode in fault.wanted


@pytest.mark.parametrize("mode", ["none", "client_credentials", "user"])
def test_these_token_modes_serve_bearer_callers(bearer_folder: ConfigFolder, mode: str) -> None:
    bearer_folder.change_service("token", {"mode": mode})
    assert bearer_folder.find_faults() == ()


def test_issuers_that_no_route_uses_and_nameless_tokens_are_warned_of(bearer_folder: ConfigFolder) -> None:
    bearer_folder.change_route(auth="session")
    bearer_folder.idps = {"idps": [LOOKED_UP, {**OF_THE_LOGIN, "name": "own", "provider": "own"}]}
    warnings = bearer_folder.load().warnings
    assert any("no route has auth: bearer" in warning for warning in warnings)
    assert any("does not name its issuer" in warning for warning in warnings)


def test_a_decision_point_that_cannot_tell_two_issuers_apart_is_warned_of(bearer_folder: ConfigFolder) -> None:
    bearer_folder.change_route(authz="pdp", methods=["GET"], authz_map={"GET": {"resource": "form", "action": "read"}})
    pdp = {"connection": {"base_url": "https://pdp.example.com"}, "context": ["acr"]}
    bearer_folder.pdp = pdp
    [sentence] = bearer_folder.load().warnings
    assert "name provider in the context of pdp.yaml" in sentence
    bearer_folder.pdp = {**pdp, "context": ["provider"]}
    assert bearer_folder.load().warnings == ()
    bearer_folder.pdp, bearer_folder.idps = pdp, {"idps": [OF_THE_LOGIN]}
    assert bearer_folder.load().warnings == ()


def test_user_ids_of_two_kinds_are_warned_of(bearer_folder: ConfigFolder) -> None:
    bearer_folder.change("oidc.user_id_claim", "preferred_username")
    [sentence] = bearer_folder.load().warnings
    assert "bearer callers are known by their sub" in sentence
