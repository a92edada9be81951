"""One BFF on several hosts: what a browser is told follows the host it called, and nothing crosses from one to another.

`http://localhost` shares its cookies with `http://localhost:8000`, because cookies know no ports; `127.0.0.1` does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.services.session_store import NewSession
from tests.integration.login_world import CALL, NAVIGATION, ROUTES, Browser, World, build_app, merge, query_of
from tests.support.raw_backend import Conversation, RawBackend
from tests.support.real_op import RealOp

MAIN, OTHER, SAME_COOKIES = "http://localhost:8000", "http://127.0.0.1:8000", "http://localhost"
EDGE = "10.0.0.1"


@pytest.fixture
def world(tmp_path: Path, op: RealOp) -> World:
    world = World(tmp_path, op)
    server = {"allowed_hosts": [OTHER, SAME_COOKIES], "trusted_proxies": ["10.0.0.0/8"]}
    world.settings = merge(world.settings, {"server": server, "oidc": {"par": "off"}})
    return world


@pytest.fixture
def app(world: World) -> Flask:
    return build_app(world.directory, world.settings)


def call(app: Flask, path: str, *, peer: str = "192.0.2.1", **headers: str) -> TestResponse:
    """One request without cookies; `Host` among `headers` or that of the main origin."""
    sent = {"Host": "localhost:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    client = app.test_client(use_cookies=False)
    return client.get(path, headers={**NAVIGATION, **sent}, environ_overrides={"REMOTE_ADDR": peer})


@pytest.mark.parametrize("origin", [MAIN, OTHER, SAME_COOKIES])
def test_a_login_comes_back_to_the_host_it_began_on(app: Flask, origin: str) -> None:
    browser = Browser(app, origin)
    start = browser.start_login("/here")
    assert query_of(start)["redirect_uri"] == f"{origin}/auth/callback"
    done = browser.navigate(browser.walk(start).removeprefix(origin), site="cross-site")
    assert (done.status_code, done.headers["Location"]) == (303, "/here")
    assert browser.is_logged_in()


def test_a_session_belongs_to_the_host_it_was_made_on(app: Flask) -> None:
    browser = Browser(app, OTHER)
    browser.log_in()
    browser.origin = MAIN
    assert not browser.is_logged_in()
    assert all("Domain=" not in line for line in browser.navigate("/auth/login").headers.getlist("Set-Cookie"))


@pytest.mark.parametrize("elsewhere", [OTHER, SAME_COOKIES])
def test_a_login_begun_on_one_host_cannot_be_finished_on_another(world: World, app: Flask, elsewhere: str) -> None:
    browser = Browser(app, MAIN)
    callback = browser.walk_to_callback()
    calls = world.token_calls()
    browser.origin = elsewhere
    refused = browser.navigate(callback, site="cross-site")
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (400, "login_state_invalid")
    assert world.token_calls() == calls
    browser.origin = MAIN
    assert browser.navigate(callback, site="cross-site").status_code == 303


def test_a_logout_goes_by_way_of_its_own_host(app: Flask) -> None:
    browser = Browser(app, OTHER)
    browser.log_in()
    logout_url = browser.log_out(json={"return_to": "/bye"}).json["logout_url"]  # type: ignore[index]
    assert logout_url.startswith(f"{OTHER}/auth/logout/continue?ticket=")
    onward = browser.navigate(logout_url.removeprefix(OTHER))
    sent = query_of(onward.headers["Location"])
    assert sent["post_logout_redirect_uri"] == f"{OTHER}/auth/logged-out"
    back = browser.navigate(f"/auth/logged-out?state={sent['state']}")
    assert back.headers["Location"] == "/bye"


@pytest.mark.parametrize("origin", [MAIN, OTHER])
def test_a_refusal_names_the_login_of_the_host_that_was_called(app: Flask, origin: str) -> None:
    for path in ("/api/auth/session", "/api/crud/x"):
        answer = Browser(app, origin).call("GET", path)
        assert answer.json["login_url"] == f"{origin}/auth/login"  # type: ignore[index]


# What selects the host


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/session", "/api/crud/x", "/nowhere"])
@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        pytest.param("192.0.2.1", {"Host": "evil.example"}, id="H21"),
        pytest.param("192.0.2.1", {"Host": "evil.example", "X_Forwarded_Host": "localhost:8000"}, id="H4-stranger"),
        pytest.param("192.0.2.1", {"Host": "localhost:8001"}, id="another-port"),
        pytest.param(EDGE, {"X_Forwarded_Host": "evil.example"}, id="edge-says-unknown"),
        pytest.param(EDGE, {"X_Forwarded_Host": "localhost:8000, 127.0.0.1:8000"}, id="edge-says-two"),
    ],
)
def test_an_unknown_host_is_refused(app: Flask, path: str, peer: str, headers: dict[str, str]) -> None:
    answer = call(app, path, peer=peer, **headers)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "unknown_host")
    assert "evil" not in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("peer", "headers", "origin"),
    [
        pytest.param("192.0.2.1", {"X_Forwarded_Host": "127.0.0.1:8000"}, MAIN, id="H4-stranger"),
        pytest.param("192.0.2.1", {"X_Forwarded_Proto": "https"}, MAIN, id="H4-scheme"),
        pytest.param(EDGE, {"X_Forwarded_Proto": "https", "X_Forwarded_Port": "1"}, MAIN, id="H4-scheme-of-the-edge"),
        pytest.param(EDGE, {"X_Forwarded_Host": "127.0.0.1:8000"}, OTHER, id="edge"),
        pytest.param(EDGE, {"Host": "bff.internal", "X_Forwarded_Host": "127.0.0.1:8000"}, OTHER, id="edge-renames"),
        pytest.param("192.0.2.1", {"Host": "LOCALHOST:80"}, SAME_COOKIES, id="default-port"),
    ],
)
def test_the_redirect_uri_is_the_settings_text(app: Flask, peer: str, headers: dict[str, str], origin: str) -> None:
    answer = call(app, "/auth/login", peer=peer, **headers)
    assert answer.status_code == 302
    assert query_of(answer.headers["Location"])["redirect_uri"] == f"{origin}/auth/callback"


# Pages of the other hosts


def test_a_page_of_one_of_our_hosts_may_not_call_another(app: Flask) -> None:
    browser = Browser(app, OTHER)
    browser.log_in()
    for path in ("/api/auth/session", "/api/crud/x"):
        refused = browser.call("GET", path, headers={"Origin": MAIN, "Sec-Fetch-Site": "cross-site"})
        assert (refused.status_code, refused.headers["X-BFF-Error"]) == (403, "csrf_failed")
        assert "Access-Control-Allow-Origin" not in refused.headers
    assert browser.call("GET", "/api/auth/session", headers={"Origin": OTHER}).status_code == 200


@pytest.mark.parametrize("return_to", ["/x", f"{MAIN}/x", f"{OTHER}/x", f"{SAME_COOKIES}/x"])
def test_a_login_may_return_to_any_host_of_ours(app: Flask, return_to: str) -> None:
    browser = Browser(app, OTHER)
    assert browser.log_in(return_to=return_to).headers["Location"] == return_to


@pytest.mark.parametrize(
    "return_to",
    [
        "/\\evil",
        "/%5cevil",
        "/%09/evil",
        "//evil",
        "///evil",
        "/%2f/evil",
        "http://127.0.0.1:8000@evil",
        "http://evil-127.0.0.1:8000",
        "http://127.0.0.1:1337",
        "http://127.0.0.1",
        "http://127.0.0.1:80000/",
        "https://127.0.0.1:8000/",
        "javascript:alert(1)",
        "data:text/html,x",
        "/%0d%0aSet-Cookie:a=b",
        "/\u3000evil",
        "http:127.0.0.1:8000",
    ],
)
@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout"])
def test_an_address_that_is_not_ours_is_refused_on_every_host(app: Flask, path: str, return_to: str) -> None:  # R
    for origin in (MAIN, OTHER):
        answer = app.test_client().get(path, base_url=origin, query_string={"return_to": return_to}, headers=CALL)
        assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "unsafe_return_to")


# A shared domain, backends, and an edge


def test_with_a_shared_domain_one_login_serves_all_hosts(world: World) -> None:
    changes: dict[str, Any] = {
        "environment": "production",
        "server": {"public_url": "https://app.example.com", "allowed_hosts": ["https://b.example.com"]},
        "session": {"cookie": {"domain": "example.com"}},
        "oidc": {"issuer": "https://idp.example.com"},
    }
    app = build_app(world.directory, merge(world.settings, changes))
    services = app.extensions["bff"]
    login = NewSession(user_id="alice", subject="alice", provider="test", issuer="https://idp.example.com", claims={})
    session_id, _ = services.session_store.create(login)
    for host in ("app", "b"):
        url = f"https://{host}.example.com"
        answer = app.test_client(use_cookies=False).get(
            "/api/auth/session", base_url=url, headers={**CALL, "Cookie": f"__Secure-bff_session={session_id}"}
        )
        assert answer.status_code == 200, answer.text


def test_a_backend_is_told_the_host_that_was_called(world: World) -> None:
    heads: list[bytes] = []

    def answer(conversation: Conversation) -> None:
        heads.append(conversation.read_request().head)
        conversation.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    with RawBackend(answer) as backend:
        routes = {**ROUTES, "services": {"crud_service": {"base_url": backend.url}}}
        app = build_app(world.directory, world.settings, routes)
        for origin in (MAIN, OTHER):
            browser = Browser(app, origin)
            browser.log_in()
            assert browser.call("GET", "/api/crud/x").status_code == 200
            assert b"X-Forwarded-Host: " + urlsplit(origin).netloc.encode() in heads.pop()


def test_an_edge_is_sent_to_the_login_of_the_host_it_asks_about(world: World) -> None:
    rules = [{"host": "127.0.0.1", "path": "/tools/*", "login_redirect": True}]
    app = build_app(world.directory, world.settings, {**ROUTES, "forward_auth": rules})
    forwarded = {"X_Forwarded_Method": "GET", "X_Forwarded_Proto": "http", "X_Forwarded_Uri": "/tools/x"}
    answer = call(app, "/auth/verify", peer=EDGE, X_Forwarded_Host="127.0.0.1:8000", **forwarded)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{OTHER}/auth/login?return_to=http%3A%2F%2F127.0.0.1%3A8000%2Ftools")
    script = {**forwarded, "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}
    refused = call(app, "/auth/verify", peer=EDGE, X_Forwarded_Host="127.0.0.1:8000", **script)
    assert refused.json["login_url"] == f"{OTHER}/auth/login"  # type: ignore[index]
