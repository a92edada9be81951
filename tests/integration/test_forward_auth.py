"""An edge asks /auth/verify: sessions of the real provider, forwarded requests as Traefik describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.edge_world import IDENTITY, NAVIGATION, Edge, assert_no
from tests.integration.login_world import ORIGIN, ROUTES, World, build_app, merge
from tests.support.real_op import RealOp

RULES: list[dict[str, Any]] = [
    {"host": "localhost", "path": "/tools/*", "login_redirect": True},
    {"host": "localhost", "path": "/api-of-tools/*"},
]


@pytest.fixture
def edge(tmp_path: Path, op: RealOp) -> Edge:
    world = World(tmp_path, op)
    settings = merge(world.settings, {"server": {"trusted_proxies": ["10.0.0.0/8"]}})
    return Edge(world, build_app(tmp_path, settings, {**ROUTES, "forward_auth": RULES}))


@pytest.mark.parametrize("path", ["/auth/verify", "/auth/forward"])
def test_yes_says_who_it_is(edge: Edge, path: str) -> None:
    edge.browser.log_in("alice")
    answer = edge.ask(path=path, headers=edge.cookie("theme=dark", "bff_csrf=x", "bff_login_y=1.z", 'a="b c"'))
    assert answer.status_code == 200, answer.text
    assert answer.data == b""
    assert answer.headers["X-User-ID"] == "alice"
    assert answer.headers["X-Original-User"] == "auth:account:test:alice"
    assert answer.headers["X-Session-ID"] not in ("", edge.browser.cookie())
    assert answer.headers["Cookie"] == 'theme=dark; a="b c"'
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_client_that_sent_only_our_cookies_has_none_left(edge: Edge) -> None:
    edge.browser.log_in()
    assert edge.ask(headers=edge.cookie()).headers["Cookie"] == ""


def test_no_session_no_entry(edge: Edge) -> None:
    answer = edge.ask(headers={"X-User-ID": "admin"})
    assert_no(answer, 401, "not_authenticated")
    assert answer.json["login_url"] == f"{ORIGIN}/auth/login"  # type: ignore[index]
    assert_no(edge.ask(headers={"Cookie": f"bff_session={'A' * 43}"}), 401, "session_expired")


def test_an_ended_session_opens_nothing(edge: Edge) -> None:
    edge.browser.log_in()
    cookie = edge.cookie()
    edge.browser.log_out()
    assert_no(edge.ask(headers=cookie), 401, "session_expired")


def test_two_session_cookies_are_never_picked_from(edge: Edge) -> None:  # H8
    edge.browser.log_in()
    assert_no(edge.ask(headers=edge.cookie(f"bff_session={'A' * 43}")), 400, "bad_request")


@pytest.mark.parametrize("peer", ["192.0.2.7", "127.0.0.1", "::1"])
def test_h3_h14_nobody_but_a_trusted_edge_may_ask(edge: Edge, peer: str) -> None:
    edge.browser.log_in()
    answer = edge.ask(peer=peer, headers={**edge.cookie(), "X-Forwarded-For": "10.1.2.3"})
    assert_no(answer, 403, "access_denied")


@pytest.mark.parametrize("name", ["Method", "Host", "Uri"])
def test_h14_an_edge_must_say_what_it_asks_about(edge: Edge, name: str) -> None:
    edge.browser.log_in()
    uri, rest = ("", {}) if name == "Uri" else ("/tools/graph", {name: ""})
    method = rest.pop("Method", "GET")
    assert_no(edge.ask(uri, method=method, headers=edge.cookie(), **rest), 403, "access_denied")


@pytest.mark.parametrize(
    ("uri", "host"),
    [("/other", "localhost:8000"), ("/tools/graph", "evil.example"), ("/toolsx", "localhost:8000"), ("/", "localhost")],
)
def test_what_no_entry_names_stays_closed(edge: Edge, uri: str, host: str) -> None:
    edge.browser.log_in()
    assert_no(edge.ask(uri, headers=edge.cookie(), Host=host), 403, "unmapped")


@pytest.mark.parametrize("uri", ["/tools/../admin", "/tools/%2e%2e/admin", "/tools//x", "/tools/%2fx", "/%74ools/x"])
def test_a_path_with_a_second_spelling_is_refused(edge: Edge, uri: str) -> None:
    edge.browser.log_in()
    assert_no(edge.ask(uri, headers=edge.cookie()), 400, "ambiguous_path")


def test_the_query_takes_no_part(edge: Edge) -> None:  # P3
    edge.browser.log_in()
    assert_no(edge.ask("/closed?x=/tools/graph", headers=edge.cookie()), 403, "unmapped")
    assert edge.ask("/tools/graph?next=/closed", headers=edge.cookie()).status_code == 200


# The login


def test_a_page_is_sent_to_the_login_and_comes_back(edge: Edge) -> None:
    answer = edge.ask("/tools/graph?x=1&y=%26", headers=NAVIGATION)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{ORIGIN}/auth/login?return_to=http%3A%2F%2Flocalhost")
    assert [answer.headers.get_all(name) for name in IDENTITY] == [[""], [""], [""]]
    start = edge.browser.navigate(answer.headers["Location"].removeprefix(ORIGIN))
    callback = edge.browser.walk(start.headers["Location"])
    done = edge.browser.navigate(callback.removeprefix(ORIGIN), site="cross-site")
    assert done.status_code == 200, "a Strict cookie needs a page that moves on by itself"
    assert "http://localhost:8000/tools/graph?x=1&amp;y=%26" in done.text
    assert edge.ask("/tools/graph?x=1&y=%26", headers={**NAVIGATION, **edge.cookie()}).status_code == 200


@pytest.mark.parametrize(
    ("uri", "method", "headers"),
    [
        pytest.param("/tools/graph", "GET", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, id="script"),
        pytest.param("/tools/graph", "POST", NAVIGATION, id="form"),
        pytest.param("/tools/graph", "HEAD", NAVIGATION, id="head"),
        pytest.param("/tools/graph", "GET", {"Accept": "application/json"}, id="json"),
        pytest.param("/api-of-tools/x", "GET", NAVIGATION, id="entry-without-redirect"),
    ],
)
def test_nothing_else_is_sent_to_the_login(edge: Edge, uri: str, method: str, headers: dict[str, str]) -> None:
    assert_no(edge.ask(uri, method=method, headers=headers), 401, "not_authenticated")


# A dead token


def test_t24_a_token_that_ran_out_is_renewed_before_the_yes(edge: Edge) -> None:
    edge.browser.log_in()
    edge.spend_access_token()
    calls = edge.world.token_calls()
    assert edge.ask(headers=edge.cookie()).status_code == 200
    assert edge.world.token_calls() == calls + 1


def test_t24_a_session_whose_grant_is_over_opens_nothing(edge: Edge) -> None:
    edge.browser.log_in()
    edge.spend_access_token(refresh_token="never-given")
    assert_no(edge.ask(headers=edge.cookie()), 401, "session_expired")
    assert_no(edge.ask(headers=edge.cookie()), 401, "session_expired")


def test_t24_a_token_that_cannot_be_renewed_now_is_no_yes(edge: Edge) -> None:
    edge.browser.log_in()
    edge.spend_access_token()
    edge.world.op.fail("/token", status=500)
    assert_no(edge.ask(headers=edge.cookie()), 503, "service_token_unavailable")


# Other pages


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("POST", {"Origin": "https://evil.example"}, id="B1-origin"),
        pytest.param("POST", {"Origin": "null"}, id="B2-null"),
        pytest.param("POST", {"Sec-Fetch-Site": "cross-site"}, id="B1-cross-site"),
        pytest.param("DELETE", {"Sec-Fetch-Site": "same-site"}, id="B1-sibling"),
        pytest.param("GET", {"Sec-WebSocket-Key": "x", "Origin": "https://evil.example"}, id="B3-websocket"),
        pytest.param("GET", {"Sec-WebSocket-Key": "x"}, id="B3-websocket-without-origin"),
    ],
)
def test_a_page_of_somebody_else_changes_nothing(edge: Edge, method: str, headers: dict[str, str]) -> None:
    edge.browser.log_in()
    assert_no(edge.ask(method=method, headers={**edge.cookie(), **headers}), 403, "csrf_failed")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("POST", {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, id="own-page"),
        pytest.param("POST", {}, id="no-browser"),
        pytest.param("GET", {**NAVIGATION, "Sec-Fetch-Site": "cross-site"}, id="link"),
        pytest.param("GET", {"Sec-WebSocket-Key": "x", "Origin": "http://localhost:8000"}, id="own-websocket"),
    ],
)
def test_the_applications_own_pages_may_call_it(edge: Edge, method: str, headers: dict[str, str]) -> None:
    edge.browser.log_in()
    assert edge.ask(method=method, headers={**edge.cookie(), **headers}).status_code == 200


def test_b3_a_handshake_is_one_also_where_the_edge_keeps_its_key_to_itself(edge: Edge) -> None:
    """Traefik names the scheme `ws` or `wss`, and with `authRequestHeaders` sends on only what it is told to."""
    edge.browser.log_in()
    evil, own = {"Origin": "https://evil.example"}, {"Origin": "http://localhost:8000"}
    assert_no(edge.ask(Proto="ws", headers={**edge.cookie(), **evil}), 403, "csrf_failed")
    assert edge.ask(Proto="ws", headers={**edge.cookie(), **own}).status_code == 200
