"""What is allowed but probably not meant."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import ConfigFolder


def test_a_sound_configuration_draws_no_warning(folder: ConfigFolder) -> None:
    assert folder.load().warnings == ()


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        pytest.param({"environment": "development"}, "app.example.com", id="development-for-others"),
        pytest.param({"cors.allow_origins": ["http://localhost:5173"]}, "plain http", id="http-origin-in-production"),
        pytest.param({"session.absolute_timeout_seconds": 600}, "without effect", id="idle-longer-than-absolute"),
        pytest.param({"keys.publish_ahead_seconds": 60}, "not read yet", id="keys-published-just-before-use"),
        pytest.param({"oidc.dcr.enabled": True}, "has no effect", id="client-id-and-registration"),
        pytest.param({"oidc.dcr.initial_access_token": "fresh"}, "is not used", id="token-without-registration"),
        pytest.param({"oidc.client_auth": "private_key_jwt"}, "client_secret is not used", id="secret-beside-keys"),
        pytest.param({"server.trusted_proxies": []}, "all callers count as one", id="https-and-no-edge"),
        pytest.param({"pdp.enabled": False}, "no decision point is asked", id="enforcement-off"),
    ],
)
def test_a_doubtful_setting_draws_a_warning(folder: ConfigFolder, changes: dict[str, Any], warning: str) -> None:
    for key, value in changes.items():
        folder.change(key, value)
    [sentence] = folder.load().warnings
    assert warning in sentence


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        pytest.param({"authz": None}, "without a word about authz", id="silent-about-authz"),
        pytest.param({"allow_anonymous_service_token": True}, "without effect", id="needless-permission"),
        pytest.param({"upstream_path": "/forms"}, "the one path /forms", id="star-leads-to-one-path"),
    ],
)
def test_a_doubtful_route_draws_a_warning(folder: ConfigFolder, changes: dict[str, Any], warning: str) -> None:
    folder.change_route(**changes)
    [sentence] = folder.load().warnings
    assert warning in sentence
    assert "/api/forms/*" in sentence


def test_a_service_nobody_uses_draws_a_warning(folder: ConfigFolder) -> None:
    folder.routes["services"]["other"] = {"base_url": "http://other"}
    [sentence] = folder.load().warnings
    assert "services.other" in sentence


def test_an_audience_that_is_not_used_draws_a_warning(folder: ConfigFolder) -> None:
    folder.change_service("token", {"mode": "user", "audience": "https://crud.example.com"})
    [sentence] = folder.load().warnings
    assert "no use of audience" in sentence


def test_tls_files_for_plain_http_draw_a_warning(folder: ConfigFolder) -> None:
    folder.change_service("tls", {"ca_file": "/dev/null"})
    [sentence] = folder.load().warnings
    assert "not called over https" in sentence


def test_no_routes_draw_a_warning(folder: ConfigFolder) -> None:
    folder.routes = {}
    [sentence] = folder.load().warnings
    assert "nothing is proxied" in sentence


def test_an_endpoint_that_nothing_asks_draws_a_warning(folder: ConfigFolder) -> None:
    folder.pdp = {"endpoints": {"search_actions": "/search"}}
    [sentence] = folder.load().warnings
    assert "search_actions is without effect" in sentence
