"""Each service, and each token for one, that must keep the BFF from starting does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import ConfigFolder

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


@pytest.mark.parametrize("mode", ["resource", "exchange"])
def test_a_token_for_nobody_in_particular_is_refused(folder: ConfigFolder, mode: str) -> None:
    folder.change_service("token", {"mode": mode})
    assert "services.crud.token.audience" in {fault.key for fault in folder.find_faults()}
