"""Which paths are ours, and which of them answer to the session cookie."""

from __future__ import annotations

import pytest

from app.core.own_endpoints import OWN_ENDPOINTS, is_own_path, needs_cross_site_check


def test_the_list_of_own_endpoints_is_the_documented_one() -> None:
    read, post = {"GET", "HEAD"}, {"POST"}
    assert {
        "/auth/login": read,
        "/auth/callback": read | post,
        "/auth/logout": read | post,
        "/auth/logout/continue": read,
        "/auth/logged-out": read,
        "/auth/backchannel-logout": post,
        "/auth/session": read,
        "/auth/verify": read,
        "/auth/forward": read,
        "/api/auth/session": read,
        "/api/auth/session/refresh": post,
        "/.well-known/jwks.json": read,
        "/access/v1/evaluation": post,
        "/access/v1/evaluations": post,
        "/api/me/capabilities": read,
        "/api/me/sessions": read,
        "/api/me/sessions/{id}": {"DELETE"},
        "/health": read,
        "/health/live": read,
        "/health/ready": read,
        "/metrics": read,
        "/admin": read,
        "/admin/pdp/forget": post,
        "/admin/*": read | post | {"DELETE"},
    } == OWN_ENDPOINTS


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/x/y", "/api/me/sessions/abc"])
def test_prefixes_and_ids_are_own(path: str) -> None:
    assert is_own_path(path)


GUARDED = [
    *(("GET", "/api/auth/session"), ("GET", "/auth/session"), ("POST", "/api/auth/session/refresh")),
    *(("GET", "/api/me/capabilities"), ("GET", "/api/me/sessions"), ("DELETE", "/api/me/sessions/abc")),
    *(("POST", "/access/v1/evaluation"), ("POST", "/access/v1/evaluations"), ("POST", "/auth/logout")),
    *(("OPTIONS", "/api/auth/session"), ("HEAD", "/api/me/sessions"), ("GET", "/api/auth/made-up")),
]
OPEN = [
    *(("GET", "/auth/login"), ("GET", "/auth/callback"), ("POST", "/auth/callback"), ("GET", "/auth/logout")),
    *(("GET", "/auth/logout/continue"), ("GET", "/auth/logged-out"), ("POST", "/auth/backchannel-logout")),
    *(("GET", "/auth/verify"), ("GET", "/health/live"), ("GET", "/.well-known/jwks.json"), ("GET", "/metrics")),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_what_answers_to_the_session_cookie_is_guarded(method: str, path: str) -> None:
    assert needs_cross_site_check(method, path)


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_what_other_sites_lead_to_is_open(method: str, path: str) -> None:
    assert not needs_cross_site_check(method, path)
