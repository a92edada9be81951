"""Each thing that must keep the BFF from starting does (attack row O6 and its neighbours)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

REDIS = {"store": "redis", "redis_url": "redis://r:6379"}

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


ROUTE_TABLE: list[Any] = [
    pytest.param({"auth": None}, "auth", "required", id="O6-no-auth"),
    pytest.param({"auth": "sesion"}, "auth", "'session'", id="O6-misspelt-auth"),
    pytest.param({"path": None}, "path", "required", id="no-path"),
    pytest.param({"path": "/api/../admin/*"}, "path", "dot segment", id="P4-dot-segment"),
    pytest.param({"path": "/api/%61/*"}, "path", "without %", id="P5-encoded"),
    pytest.param({"path": "/api/a;b/*"}, "path", "without %", id="P10-semicolon"),
    pytest.param({"path": "/api//a/*"}, "path", "empty segment", id="P8-slashes"),
    pytest.param({"path": "/api/*/x"}, "path", "at the end", id="star-inside"),
    pytest.param({"path": "/api*"}, "path", "segment", id="P14-star-within-a-segment"),
    pytest.param({"path": "/auth/login", "upstream_path": "/x"}, "path", "own endpoints", id="own-endpoint"),
    pytest.param({"path": "/admin/*"}, "path", "own endpoints", id="own-prefix"),
    pytest.param({"path": "/api/me/sessions/{x}", "upstream_path": "/x"}, "path", "own endpoints", id="own-pattern"),
    pytest.param({"target_service": None}, "target_service", "required", id="no-service"),
    pytest.param({"target_service": "crub"}, "target_service", "did you mean crud", id="unknown-service"),
    pytest.param({"upstream_path": None}, "upstream_path", "preserve_path: true", id="neither-upstream-nor-preserve"),
    pytest.param({"preserve_path": True}, "upstream_path", "preserve_path is true", id="both-upstream-and-preserve"),
    pytest.param({"upstream_path": "/forms/{id}"}, "upstream_path", "no {id}", id="unknown-placeholder"),
    pytest.param({"path": "/api/x"}, "upstream_path", "no {path}", id="path-without-star"),
    pytest.param({"upstream_path": "//evil.example.com/{path}"}, "upstream_path", "a path", id="P20-authority"),
    pytest.param({"upstream_path": "/../{path}"}, "upstream_path", "a path", id="P21-escape"),
    pytest.param({"methods": []}, "methods", "at least one", id="no-methods"),
    pytest.param({"methods": ["GET", "TRACE"]}, "methods[1]", "never TRACE", id="P16-trace"),
    pytest.param({"methods": ["get"]}, "methods[0]", "capitals", id="small-letters"),
    pytest.param({"auth": "none"}, "auth", "user's token", id="user-token-for-anybody"),
    pytest.param({"request_cookies": ["bff_session"]}, "request_cookies[0]", "BFF's own", id="H10-cookie-up"),
    pytest.param(
        {"response_cookies": ["__Host-bff_session"]}, "response_cookies[0]", "BFF's own", id="H10-cookie-down"
    ),
    pytest.param({"response_cookies": ["bff_csrf"]}, "response_cookies[0]", "BFF's own", id="H10-csrf-cookie"),
    pytest.param({"request_cookies": ["a b"]}, "request_cookies[0]", "a cookie name", id="broken-cookie-name"),
    pytest.param({"allow_in_path": ["dots"]}, "allow_in_path[0]", "'encoded_slash'", id="unknown-option"),
    pytest.param({"websocket": True, "methods": ["POST"]}, "methods", "GET among them", id="websocket-without-get"),
    pytest.param({"max_body_bytes": -1}, "max_body_bytes", "0 or more", id="negative-size"),
    pytest.param({"max_age_seconds": -1}, "max_age_seconds", "0 or more", id="negative-age"),
    pytest.param({"acr_values": ["a b"]}, "acr_values[0]", "without spaces", id="two-classes-in-one"),
    pytest.param({"acr_values": ['a"b']}, "acr_values[0]", "quotes", id="class-that-ends-its-quotes"),
    pytest.param({"acr_values": [""]}, "acr_values[0]", "text", id="empty-class"),
    pytest.param({"streaming": "yes"}, "streaming", "true or false", id="text-for-a-flag"),
    pytest.param({"id": "a b"}, "id", "an id", id="broken-id"),
    pytest.param({"targetservice": "x"}, "targetservice", "did you mean target_service", id="O6-misspelt-key"),
]


@pytest.mark.parametrize(("changes", "key", "wanted"), ROUTE_TABLE)
def test_a_route_is_refused(folder: ConfigFolder, changes: dict[str, Any], key: str, wanted: str) -> None:
    folder.change_route(**changes)
    fault = folder.find_fault()
    assert (fault.file, fault.key) == ("routes.yaml", f"routes[0].{key}")
    assert wanted in fault.wanted


SERVICE_TABLE: list[Any] = [
    pytest.param({"base_url": None}, "base_url", "one of the two", id="no-url"),
    pytest.param({"base_urls": ["http://other"]}, "base_url", "one of the two", id="both-kinds-of-url"),
    pytest.param({"base_url": None, "base_urls": ["http://a", "http://a"]}, "base_urls", "each URL once", id="twice"),
    pytest.param(
        {"base_url": None, "base_urls": ["http://a/v1/", "http://b/v2"]}, "base_urls", "the same path", id="two-paths"
    ),
    pytest.param({"base_url": "crud:8080"}, "base_url", "a URL", id="no-scheme"),
    pytest.param({"base_url": "http://crud/?x=1"}, "base_url", "no query", id="query"),
    pytest.param({"base_url": "http://u:hunter2@crud"}, "base_url", "no user name", id="credentials"),
    pytest.param({"token.mode": "users"}, "token.mode", "'client_credentials'", id="unknown-mode"),
    pytest.param({"token.dpop": "auto"}, "token.dpop", "true or false", id="dpop-auto"),
    pytest.param({"token.dpop": True}, "token.dpop", "one for all services", id="dpop-for-one-users-token"),
    pytest.param({"token": {"mode": "none", "dpop": True}}, "token.dpop", "no token", id="dpop-without-a-token"),
    pytest.param({"connect_timeout_seconds": 0}, "connect_timeout_seconds", "above 0", id="no-time"),
    pytest.param({"total_timeout_seconds": -1}, "total_timeout_seconds", "0 or more", id="negative-time"),
    pytest.param({"retry": 100}, "retry", "5 or less", id="many-retries"),
    pytest.param({"max_connections": 0}, "max_connections", "1 or more", id="no-connections"),
    pytest.param({"tls": {"ca_file": "/nowhere"}}, "tls.ca_file", "can be read", id="missing-ca-file"),
    pytest.param({"tls": {"cert_file": "/dev/null"}}, "tls.key_file", "certificate and key", id="certificate-alone"),
    pytest.param({"timeout": 3}, "timeout", "one of base_url", id="O6-unknown-key"),
]


@pytest.mark.parametrize(("changes", "key", "wanted"), SERVICE_TABLE)
def test_a_service_is_refused(folder: ConfigFolder, changes: dict[str, Any], key: str, wanted: str) -> None:
    for changed, value in changes.items():
        folder.change_service(changed, value)
    fault = folder.find_fault()
    assert (fault.file, fault.key) == ("routes.yaml", f"services.crud.{key}")
    assert wanted in fault.wanted
    assert "hunter2" not in str(fault)


def test_equal_backends_may_write_their_one_path_with_a_slash_or_without(folder: ConfigFolder) -> None:
    folder.change_service("base_url", None)
    folder.change_service("base_urls", ["http://a/v1", "http://b/v1/"])
    assert folder.load().services["crud"].base_urls == ("http://a/v1", "http://b/v1")


def test_equal_paths_are_refused_with_both_lines(folder: ConfigFolder) -> None:
    folder.texts["routes.yaml"] = (
        "services: {crud: {base_url: 'http://crud'}}\n"
        "routes:\n"
        "- {path: /a/*, target_service: crud, upstream_path: /a, auth: none, id: one}\n"
        "- {path: /a/*, target_service: crud, upstream_path: /b, auth: none, id: two}\n"
    )
    fault = folder.find_fault()
    assert (fault.line, fault.key) == (4, "routes[1].path")
    assert fault.wanted == "another path: this one is already at line 3"


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


def test_tied_paths_are_refused(folder: ConfigFolder) -> None:
    folder.change_route(path="/a/{x}/c", upstream_path="/x")
    folder.add_route(path="/a/b/{y}", upstream_path="/x")
    fault = folder.find_fault()
    assert fault.key == "routes[1].path"
    assert "/a/{x}/c" in fault.wanted


def test_an_id_given_twice_is_refused(folder: ConfigFolder) -> None:
    folder.change_route(id="one")
    folder.add_route(path="/b/*", id="one")
    fault = folder.find_fault()
    assert fault.key == "routes[1].id"
    assert "/api/forms/*" in fault.wanted


def test_paths_that_make_the_same_id_ask_for_ids(folder: ConfigFolder) -> None:
    folder.change_route(path="/a", upstream_path="/x")
    folder.add_route(path="/a/*")
    assert folder.find_fault().key == "routes[1].id"


@pytest.mark.parametrize(("key", "value"), [("max_age_seconds", 300), ("acr_values", ["gold"])])
def test_a_login_that_cannot_be_asked_for_cannot_be_demanded(folder: ConfigFolder, key: str, value: object) -> None:
    folder.change_route(**{key: value})
    folder.change("oidc.login_parameters", ["prompt"])
    assert "oidc.login_parameters" in folder.find_fault().wanted
    folder.change("oidc.login_parameters", ["prompt", "max_age", "acr_values"])
    assert folder.find_faults() == ()


@pytest.mark.parametrize("auth", ["none", "bearer"])
@pytest.mark.parametrize(("key", "value"), [("max_age_seconds", 300), ("acr_values", ["gold"])])
def test_where_nobody_logs_in_no_login_can_be_demanded(
    folder: ConfigFolder, key: str, value: object, auth: str
) -> None:
    folder.change_service("token", {"mode": "none"})
    folder.change_route(**{"auth": auth, key: value})
    faults = {fault.key: fault for fault in folder.find_faults()}
    assert faults[f"routes[0].{key}"].wanted == f"nothing: with auth {auth} there is no login"


def test_a_users_token_that_is_bound_is_bound_for_every_service(folder: ConfigFolder) -> None:
    folder.change("oidc.dpop", True)
    folder.change_service("token", {"mode": "user", "dpop": False})
    assert "one for all services" in folder.find_fault().wanted


@pytest.mark.parametrize("mode", ["user", "resource", "exchange"])
def test_nobody_gets_a_users_token_on_a_route_for_anybody(folder: ConfigFolder, mode: str) -> None:
    folder.change_route(auth="none", allow_anonymous_service_token=True)
    folder.change_service("token", {"mode": mode, "audience": "x"})
    faults = {fault.key: fault for fault in folder.find_faults()}
    assert "user's token" in faults["routes[0].auth"].wanted


def test_the_bffs_own_token_is_for_anybody_only_when_the_route_says_so(folder: ConfigFolder) -> None:
    folder.change_route(auth="none")
    folder.change_service("token", {"mode": "client_credentials"})
    assert "allow_anonymous_service_token" in folder.find_fault().wanted
    folder.change_route(allow_anonymous_service_token=True)
    assert folder.load().route_table.routes[0].allow_anonymous_service_token


def test_the_decision_point_cannot_be_asked_about_nobody(folder: ConfigFolder) -> None:
    folder.change_service("token", {"mode": "none"})
    folder.change_route(auth="none", authz="pdp")
    fault = folder.find_fault()
    assert fault.key == "routes[0].authz"
    assert "nobody" in fault.wanted


@pytest.mark.parametrize("mode", ["resource", "exchange"])
def test_a_token_for_nobody_in_particular_is_refused(folder: ConfigFolder, mode: str) -> None:
    folder.change_service("token", {"mode": mode})
    assert "services.crud.token.audience" in {fault.key for fault in folder.find_faults()}


def test_a_mapping_for_a_method_the_route_refuses_is_refused(folder: ConfigFolder) -> None:
    mapping = {"resource": "form", "action": "read", "id_from": "{id}"}
    folder.change_route(methods=["GET"], authz_map={"POST": mapping, "HEAD": mapping})
    keys = {fault.key for fault in folder.find_faults()}
    assert {"routes[0].authz_map.POST", "routes[0].authz_map.HEAD.id_from"} <= keys
    assert "routes[0].authz_map.HEAD" not in keys


PDP_TABLE: list[Any] = [
    pytest.param({"connection": {"auth": "api_key"}}, "connection.api_key", "needs it", id="no-api-key"),
    pytest.param({"connection": {"auth": "api_key", "api_key": "k"}}, "connection.api_key", "16", id="weak-api-key"),
    pytest.param(
        {"connection": {"auth": "client_credentials", "client_id": "a", "client_secret": GOOD_SECRET}},
        "connection.token_url",
        "needs it",
        id="no-token-url",
    ),
    pytest.param({"connection": {"base_url": "pdp"}}, "connection.base_url", "a URL", id="broken-url"),
    pytest.param({"connection": {"ca_file": "/nowhere"}}, "connection.ca_file", "can be read", id="missing-ca-file"),
    pytest.param({"endpoints": {"batch": "x"}}, "endpoints.batch", "a path", id="broken-path"),
    pytest.param({"cache": {"ttl_alow": 5}}, "cache.ttl_alow", "did you mean ttl_allow", id="unknown-key"),
    pytest.param({"retry": {"retry_status_codes": [200]}}, "retry.retry_status_codes[0]", "400", id="retry-success"),
    pytest.param({"context": ["weather"]}, "context[0]", "'acr'", id="unknown-fact"),
    pytest.param({"endpoint_map": {"x": {}}}, "endpoint_map.x", "a path", id="broken-path-in-map"),
    pytest.param(
        {"endpoint_map": {"/x": {"GET": {"action": "a"}}}}, "endpoint_map./x.GET.resource", "req", id="no-resource"
    ),
]


@pytest.mark.parametrize(("pdp", "key", "wanted"), PDP_TABLE)
def test_pdp_yaml_is_refused(folder: ConfigFolder, pdp: dict[str, Any], key: str, wanted: str) -> None:
    folder.pdp = pdp
    fault = folder.find_fault()
    assert (fault.file, fault.key) == ("pdp.yaml", key)
    assert wanted in fault.wanted


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
