"""Each thing in settings.yaml that must keep the BFF from starting does (attack row O6 and its neighbours)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

SETTINGS_TABLE: list[Any] = [
    # where the BFF stands
    pytest.param({"server.public_url": None}, "server.public_url", "required", id="no-public-url"),
    pytest.param({"server": None}, "server.public_url", "required", id="no-server-section"),
    pytest.param({"server.public_url": ""}, "server.public_url", "not empty", id="empty-public-url"),
    pytest.param(
        {"server.public_url": "http://app.example.com"}, "server.public_url", "https", id="http-in-production"
    ),
    pytest.param({"server.public_url": "http://localhost"}, "server.public_url", "https", id="loopback-in-production"),
    pytest.param(
        {"environment": "development", "server.public_url": "http://app.example.com"},
        "server.public_url",
        "loopback",
        id="http-beyond-loopback-in-development",
    ),
    pytest.param(
        {"environment": "development", "server.public_url": "http://localhost.evil.example"},
        "server.public_url",
        "loopback",
        id="only-looks-like-loopback",
    ),
    pytest.param(
        {"server.public_url": "https://app.example.com/bff"}, "server.public_url", "an origin", id="public-path"
    ),
    pytest.param(
        {"server.trusted_proxies": ["0.0.0.0/0"]}, "server.trusted_proxies[0]", "own proxies", id="H13-trust-all"
    ),
    pytest.param({"server.internal_bind": "9000"}, "server.internal_bind", "host:port", id="bind-without-host"),
    pytest.param({"environment": "staging"}, "environment", "'production'", id="unknown-environment"),
    pytest.param({"cors.allow_origins": ["*"]}, "cors.allow_origins[0]", "an origin", id="B2-any-origin"),
    pytest.param({"cors.allow_origins": ["null"]}, "cors.allow_origins[0]", "an origin", id="B2-null-origin"),
    pytest.param({"headers.strip": ["Host"]}, "headers.strip[0]", "header", id="strip-framing"),
    # the identity provider
    pytest.param({"oidc.issuer": None}, "oidc.issuer", "required", id="no-issuer"),
    pytest.param({"oidc.issuer": "http://idp.example.com"}, "oidc.issuer", "https", id="http-issuer-in-production"),
    pytest.param(
        {"environment": "development", "oidc.issuer": "http://idp.example.com"},
        "oidc.issuer",
        "loopback",
        id="http-issuer-beyond-loopback",
    ),
    pytest.param({"oidc.client_id": ""}, "oidc.client_id", "dcr", id="no-client-id"),
    pytest.param(
        {"oidc.client_id": "", "oidc.dcr.enabled": True, "oidc.client_secret": None},
        "oidc.client_auth",
        "administrators",
        id="registered-with-a-secret",
    ),
    pytest.param(
        {
            "oidc.client_id": "",
            "oidc.dcr.enabled": True,
            "oidc.client_auth": "private_key_jwt",
            "oidc.dcr.initial_access_token": "two\nlines",
        },
        "oidc.dcr.initial_access_token",
        "no line ends",
        id="initial-access-token-of-two-lines",
    ),
    pytest.param({"oidc.scopes": ["profile"]}, "oidc.scopes", "openid", id="no-openid"),
    pytest.param(
        {"oidc.login_parameters": ["redirect_uri"]}, "oidc.login_parameters[0]", "itself", id="L10-redirect-uri"
    ),
    pytest.param({"oidc.login_parameters": ["scope"]}, "oidc.login_parameters[0]", "itself", id="L10-scope"),
    pytest.param({"oidc.clock_skew_seconds": 3600}, "oidc.clock_skew_seconds", "300 or less", id="too-much-leeway"),
    pytest.param({"oidc.ca_file": "/nowhere/ca.pem"}, "oidc.ca_file", "can be read", id="missing-ca-file"),
    # secrets
    pytest.param({"oidc.client_secret": None}, "oidc.client_secret", "client_secret_basic needs", id="no-secret"),
    pytest.param({"oidc.client_secret": "short-secret"}, "oidc.client_secret", "16", id="O6-short-secret"),
    pytest.param({"oidc.client_secret": "changeme"}, "oidc.client_secret", "16", id="O6-changeme"),
    pytest.param(
        {"oidc.client_secret": "Change-Me-Change-Me"}, "oidc.client_secret", "placeholder", id="O6-placeholder"
    ),
    pytest.param({"oidc.client_secret": "<your-client-secret>"}, "oidc.client_secret", "placeholder", id="O6-yours"),
    pytest.param({"oidc.client_secret": "a" * 32}, "oidc.client_secret", "random", id="O6-one-letter"),
    pytest.param(
        {"oidc.client_secret": "development-only-client-secret"},
        "oidc.client_secret",
        "development",
        id="O6-development-secret-in-production",
    ),
    pytest.param(
        {"environment": "development", "oidc.client_secret": "development-only-client-secret"},
        "oidc.client_secret",
        "loopback",
        id="O6-development-secret-for-a-real-provider",
    ),
    # sessions and cookies
    pytest.param({"session.cookie.same_site": "None"}, "session.cookie.same_site", "'Strict'", id="same-site-none"),
    pytest.param(
        {"server.allowed_hosts": ["https://app.example.com"]}, "server.allowed_hosts[0]", "once", id="host-again"
    ),
    pytest.param(
        {"server.allowed_hosts": ["https://b.example.com"] * 2}, "server.allowed_hosts[1]", "once", id="host-twice"
    ),
    pytest.param(
        {"server.allowed_hosts": ["http://b.example.com"]}, "server.allowed_hosts[0]", "https", id="http-host"
    ),
    pytest.param(
        {"environment": "development", "server.allowed_hosts": ["http://localhost:1"]},
        "server.allowed_hosts[0]",
        "the scheme of server.public_url",
        id="other-scheme",
    ),
    pytest.param({"session.cookie.domain": "other.com"}, "session.cookie.domain", "public_url", id="foreign-domain"),
    pytest.param({"session.cookie.domain": "p.example.com"}, "session.cookie.domain", "public_url", id="not-at-a-dot"),
    pytest.param({"session.cookie.domain": "com"}, "session.cookie.domain", "two labels", id="top-level-domain"),
    pytest.param({"session.cookie.domain": ".example.com"}, "session.cookie.domain", "host name", id="leading-dot"),
    pytest.param({"session.redis.key_prefix": "{bff}:"}, "session.redis.key_prefix", "letters", id="brace-in-prefix"),
    pytest.param({"session.redis.key_prefix": "a b"}, "session.redis.key_prefix", "letters", id="space-in-prefix"),
    pytest.param({"session.cookie.name": "__Host-x"}, "session.cookie.name", "prefix", id="prefixed-cookie"),
    pytest.param({"session.cookie.name": "bff_csrf"}, "session.cookie.name", "other cookie", id="csrf-cookie-name"),
    pytest.param({"session.cookie.name": "a b"}, "session.cookie.name", "cookie name", id="broken-cookie-name"),
    pytest.param({"session.idle_timeout_seconds": 0}, "session.idle_timeout_seconds", "1 or more", id="no-idle-time"),
    pytest.param({"session.idle_timeout_seconds": -1}, "session.idle_timeout_seconds", "1 or more", id="negative-time"),
    pytest.param({"session.absolute_timeout_seconds": 10**9}, "session.absolute_timeout_seconds", "less", id="endless"),
    pytest.param({"session.touch_interval_seconds": 1800}, "session.touch_interval_seconds", "less", id="late-touch"),
    pytest.param({"session.local_cache_seconds": 3600}, "session.local_cache_seconds", "60 or less", id="stale-copies"),
    pytest.param(
        {"keys.rotate_after_days": 1, "keys.publish_ahead_seconds": 86_400},
        "keys.publish_ahead_seconds",
        "less than keys.rotate_after_days",
        id="published-longer-than-used",
    ),
    pytest.param({"keys.store": "redis"}, "keys.store", "session.store: redis", id="keys-alone-in-redis"),
    pytest.param({"keys.retire_after_days": 30}, "keys.retire_after_days", "rotate_after_days", id="retired-too-early"),
    # types
    pytest.param({"session.idle_timeout_seconds": "900"}, "session.idle_timeout_seconds", "whole number", id="quoted"),
    pytest.param(
        {"session.idle_timeout_seconds": 1.5}, "session.idle_timeout_seconds", "whole number", id="half-second"
    ),
    pytest.param(
        {"session.idle_timeout_seconds": True}, "session.idle_timeout_seconds", "whole number", id="true-is-1"
    ),
    pytest.param({"oidc.timeout_seconds": float("inf")}, "oidc.timeout_seconds", "number", id="infinite"),
    pytest.param({"oidc.timeout_seconds": float("nan")}, "oidc.timeout_seconds", "number", id="not-a-number"),
    pytest.param({"oidc.userinfo": "true"}, "oidc.userinfo", "true or false", id="text-for-a-flag"),
    pytest.param({"oidc.userinfo": 1}, "oidc.userinfo", "true or false", id="number-for-a-flag"),
    pytest.param({"oidc.client_id": 12345}, "oidc.client_id", "quotes", id="number-for-text"),
    pytest.param({"oidc.scopes": "openid profile"}, "oidc.scopes", "a list", id="text-for-a-list"),
    pytest.param({"oidc.scopes": {"openid": 1}}, "oidc.scopes", "a list", id="section-for-a-list"),
    pytest.param({"session": "redis"}, "session", "a section", id="text-for-a-section"),
    pytest.param({"session": ["store"]}, "session", "a section", id="list-for-a-section"),
    # unknown keys
    pytest.param({"oidc.client_secert": "x"}, "oidc.client_secert", "did you mean client_secret", id="O6-misspelt-key"),
    pytest.param({"sesion": {}}, "sesion", "did you mean session", id="O6-misspelt-section"),
    pytest.param({"session.cookie.http_only": False}, "session.cookie.http_only", "one of name", id="O6-invented-key"),
]


@pytest.mark.parametrize(("changes", "key", "wanted"), SETTINGS_TABLE)
def test_settings_are_refused(folder: ConfigFolder, changes: dict[str, Any], key: str, wanted: str) -> None:
    for changed, value in changes.items():
        folder.change(changed, value)
    fault = folder.find_fault()
    assert fault.key == key
    assert wanted in fault.wanted


def test_a_tab_is_called_a_tab(folder: ConfigFolder) -> None:
    folder.texts["settings.yaml"] = "server:\n\tpublic_url: https://app.example.com\n"
    fault = folder.find_fault()
    assert (fault.place, fault.found) == ("settings.yaml:2", "a tab")
    assert "spaces" in fault.wanted


@pytest.mark.parametrize(
    "secret", [GOOD_SECRET, "development-only-client-secret"], ids=["real-secret", "development-secret"]
)
def test_an_environment_that_is_not_known_draws_no_complaints_of_production(folder: ConfigFolder, secret: str) -> None:
    folder.change("environment", "prod")
    folder.change("server.public_url", "http://localhost:8000")
    folder.change("oidc.issuer", "http://localhost:8080")
    folder.change("oidc.client_secret", secret)
    assert folder.find_fault().key == "environment"


def test_a_weak_secret_is_told_with_the_file_it_may_be_in_and_how_to_make_a_better_one(folder: ConfigFolder) -> None:
    folder.change("oidc.client_secret", "short-secret")
    wanted = folder.find_fault().wanted
    assert "client_secret_file" in wanted
    assert "openssl rand -base64 32" in wanted


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("not a key\n", id="text"),
        pytest.param("aGVsbG8=\n", id="too-short"),
        pytest.param("A" * 43 + "=\n!!!\n", id="second-line-broken"),
    ],
)
def test_a_data_key_file_must_hold_keys(folder: ConfigFolder, content: str) -> None:
    path = folder.path / "data.key"
    path.write_text(content)
    folder.change("tokens.data_key_file", str(path))
    assert "openssl rand" in folder.find_fault().wanted


def test_a_data_key_file_may_hold_several_keys(folder: ConfigFolder) -> None:
    path = folder.path / "data.key"
    path.write_text(f"{'B' * 43}=\n\n{'A' * 43}=\n")
    folder.change("tokens.data_key_file", str(path))
    assert folder.find_faults() == ()


def test_redis_needs_a_url_and_a_key_file(folder: ConfigFolder) -> None:
    folder.change("session.store", "redis")
    folder.change("session.redis_url", "http://hunter2@redis")
    faults = {fault.key: fault for fault in folder.find_faults()}
    assert {"session.redis_url", "tokens.data_key_file"} <= set(faults)
    assert "hunter2" not in "".join(map(str, faults.values()))
