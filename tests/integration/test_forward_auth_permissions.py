"""`forward_auth` entries with `authz: pdp`: an edge's question becomes one to the decision point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.edge_world import NAVIGATION, Edge, assert_no
from tests.integration.login_world import ROUTES, World, build_app, merge
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.real_op import RealOp
from tests.unit.hooks.conftest import captured
from tests.unit.observability.captured_lines import CapturedLines

__all__ = ["captured"]

HOST = "localhost"
RULES: list[dict[str, Any]] = [
    {
        "host": HOST,
        "path": "/tools/*",
        "authz": "pdp",
        "login_redirect": True,
        "authz_map": {
            "GET": {"resource": "tool", "action": "use", "id_from": "{path}", "props": {"view": "?view"}},
            "PUT": {"resource": "tool", "action": "change", "id_from": "{path}"},
        },
    },
    {"host": HOST, "path": "/graphs/*", "authz": "pdp"},
    {"host": HOST, "path": "/free/*", "authz": "none"},
]
ENDPOINT_MAP = {
    "/graphs/{id}": {
        "GET": {"resource": "graph", "action": "read", "id_from": "{id}"},
        "POST": {"resource": "graph", "action": "create", "props": {"kind": "$.kind"}},
    },
    "/tools/{id}": {"DELETE": {"resource": "tool", "action": "delete", "id_from": "{id}"}},
}
OWN_PAGE = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def pdp() -> Iterator[AuthzenPdp]:
    with AuthzenPdp() as started:
        yield started


def build_edge(directory: Path, op: RealOp, point: AuthzenPdp, **changes: Any) -> Edge:
    (directory / "config").mkdir(parents=True, exist_ok=True)
    document = {
        "connection": {"base_url": point.url, "timeout": 1},
        "retry": {"max_retries": 0},
        "context": ["route_id", "client_address"],
        "subject_claims": ["roles"],
        "endpoint_map": ENDPOINT_MAP,
    }
    (directory / "config" / "pdp.yaml").write_text(json.dumps(document), encoding="utf-8")
    world = World(directory, op)
    settings = merge(world.settings, {"server": {"trusted_proxies": ["10.0.0.0/8"]}, **changes})
    edge = Edge(world, build_app(directory, settings, {**ROUTES, "forward_auth": RULES}))
    edge.browser.log_in("alice")
    return edge


@pytest.fixture
def edge(tmp_path: Path, op: RealOp, pdp: AuthzenPdp) -> Edge:
    return build_edge(tmp_path, op, pdp)


def test_the_question_is_about_the_users_request_and_a_yes_says_who_it_is(edge: Edge, pdp: AuthzenPdp) -> None:
    answer = edge.ask("/tools/a%20b/c?view=wide", headers={**edge.cookie(), "X-Forwarded-For": "203.0.113.9"})
    assert (answer.status_code, answer.headers["X-User-ID"]) == (200, "alice"), answer.text
    [question] = pdp.questions
    roles = question["subject"].pop("properties", {})
    assert question == {
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "use"},
        "resource": {"type": "tool", "id": "a b/c", "properties": {"view": "wide"}},
        "context": {"route_id": "localhost/tools/*", "client_address": "203.0.113.9"},
    }
    assert set(roles) <= {"roles"}


@pytest.mark.parametrize(
    ("uri", "method", "resource", "action"),
    [
        pytest.param("/graphs/7", "GET", {"type": "graph", "id": "7"}, "read", id="endpoint-map"),
        pytest.param("/tools/7", "DELETE", {"type": "tool", "id": "7"}, "delete", id="a-method-the-entry-leaves-out"),
        pytest.param("/tools/7", "PUT", {"type": "tool", "id": "7"}, "change", id="the-entry-first"),
        pytest.param("/tools", "GET", {"type": "tool", "id": "*"}, "use", id="no-single-one"),
        pytest.param("/graphs/7", "HEAD", {"type": "graph", "id": "7"}, "read", id="D7-head"),
    ],
)
def test_the_entrys_own_map_comes_before_the_endpoint_map(
    edge: Edge, pdp: AuthzenPdp, uri: str, method: str, resource: dict[str, str], action: str
) -> None:
    assert edge.ask(uri, method=method, headers={**edge.cookie(), **OWN_PAGE}).status_code == 200
    assert (pdp.questions[0]["resource"], pdp.questions[0]["action"]["name"]) == (resource, action)


def test_a_no_tells_the_user_why_and_names_nobody(edge: Edge, pdp: AuthzenPdp) -> None:
    pdp.decide = lambda _: False
    pdp.explain = lambda _: {"reason_user": "Only for editors.", "reason_admin": "policy-17"}
    answer = edge.ask(headers={**NAVIGATION, **edge.cookie()})
    assert_no(answer, 403, "access_denied")
    assert answer.get_json()["reason"] == "Only for editors."
    assert "policy-17" not in answer.text


def test_d7_a_websocket_handshake_is_decided_too(edge: Edge, pdp: AuthzenPdp) -> None:
    pdp.decide = lambda _: False
    handshake = {"Sec-WebSocket-Key": "x", "Origin": "http://localhost:8000"}
    assert_no(edge.ask("/graphs/7", headers={**edge.cookie(), **handshake}, Proto="ws"), 403, "access_denied")
    pdp.decide = lambda question: question["action"]["name"] == "read"
    pdp.explain = lambda _: None
    assert edge.ask("/graphs/8", headers={**edge.cookie(), **handshake}, Proto="ws").status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        pytest.param((500, "text/plain", b""), id="D1-500"),
        pytest.param((200, "application/json", b'{"decision": "true"}'), id="D1-text"),
        pytest.param((200, "application/json", b"{}"), id="D1-missing"),
    ],
)
def test_without_a_decision_nothing_passes(edge: Edge, pdp: AuthzenPdp, said: tuple[int, str, bytes]) -> None:
    pdp.answer = said
    assert_no(edge.ask(headers=edge.cookie()), 503, "pdp_unavailable")
    pdp.answer = None
    assert edge.ask(headers=edge.cookie()).status_code == 200  # D5


@pytest.mark.parametrize(
    ("uri", "method"),
    [
        pytest.param("/tools/7", "POST", id="D8-method-nobody-mapped"),
        pytest.param("/graphs/7/edges", "GET", id="D8-path-nobody-mapped"),
        pytest.param("/graphs/7", "POST", id="D8-mapping-by-the-body-that-the-edge-keeps"),
    ],
)
def test_d8_what_nobody_mapped_is_refused(edge: Edge, pdp: AuthzenPdp, uri: str, method: str) -> None:
    assert_no(edge.ask(uri, method=method, headers={**edge.cookie(), **OWN_PAGE}), 403, "unmapped")
    assert pdp.questions == []


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param({}, 401, "not_authenticated", id="nobody"),
        pytest.param({"Cookie": f"bff_session={'A' * 43}"}, 401, "session_expired", id="ended"),
    ],
)
def test_who_is_not_known_is_not_asked_about(
    edge: Edge, pdp: AuthzenPdp, headers: dict[str, str], status: int, code: str
) -> None:
    assert_no(edge.ask(headers=headers), status, code)
    assert pdp.questions == []


def test_b1_what_another_page_wants_is_not_asked_about(edge: Edge, pdp: AuthzenPdp) -> None:
    evil = {"Origin": "https://evil.example"}
    assert_no(edge.ask(method="PUT", headers={**edge.cookie(), **evil}), 403, "csrf_failed")
    assert pdp.questions == []


def test_t24_a_dead_token_is_no_yes_whatever_the_decision(edge: Edge, pdp: AuthzenPdp) -> None:
    edge.spend_access_token(refresh_token="never-given")
    assert_no(edge.ask(headers=edge.cookie()), 401, "session_expired")
    assert pdp.questions == []


def test_l27_a_role_that_the_renewal_took_away_is_gone_before_the_question(edge: Edge, pdp: AuthzenPdp) -> None:
    assert edge.ask(headers=edge.cookie()).status_code == 200
    edge.spend_access_token()
    edge.world.op.mutate(id_token={"set": {"roles": ["guest"]}})
    assert edge.ask(headers=edge.cookie()).status_code == 200
    assert pdp.questions[-1]["subject"]["properties"] == {"roles": ["guest"]}


def test_a_decision_is_remembered_and_gone_with_the_session(edge: Edge, pdp: AuthzenPdp) -> None:  # D4
    for _ in range(3):
        assert edge.ask(headers=edge.cookie()).status_code == 200
    assert len(pdp.questions) == 1
    cookie = edge.cookie()
    edge.browser.log_out()
    assert_no(edge.ask(headers=cookie), 401, "session_expired")


def test_every_fresh_decision_is_in_the_audit_trail(edge: Edge, pdp: AuthzenPdp, captured: CapturedLines) -> None:
    edge.ask("/graphs/7", headers=edge.cookie())
    [event] = [line for line in captured.records if line.get("event") == "access.decided"]
    wanted = {
        "user_id": "alice",
        "route_id": "localhost/graphs/*",
        "method": "GET",
        "action": "read",
        "resource_type": "graph",
        "resource_id": "7",
        "decision": "allow",
    }
    assert {name: event[name] for name in wanted} == wanted


def test_a_page_is_told_what_login_is_missing_and_not_sent_round_for_ever(edge: Edge, pdp: AuthzenPdp) -> None:
    """A provider may take `acr_values` for a wish, and then the answer would be the same after each login."""
    pdp.decide, pdp.explain = lambda _: False, lambda _: {"acr_values": "gold"}
    answer = edge.ask(headers={**NAVIGATION, **edge.cookie()})
    assert_no(answer, 401, "insufficient_user_authentication")
    assert answer.get_json()["login_url"].endswith("/auth/login?acr_values=gold")


def test_an_entry_that_asks_nobody_asks_nobody(edge: Edge, pdp: AuthzenPdp) -> None:
    pdp.decide = lambda _: False
    assert edge.ask("/free/x", headers=edge.cookie()).status_code == 200
    assert pdp.questions == []


def test_with_enforcement_off_who_is_known_passes(tmp_path: Path, op: RealOp, pdp: AuthzenPdp) -> None:
    edge = build_edge(tmp_path, op, pdp, pdp={"enabled": False})
    assert edge.ask("/graphs/7", headers=edge.cookie()).status_code == 200
    assert_no(edge.ask("/graphs/7"), 401, "not_authenticated")
    assert pdp.questions == []
