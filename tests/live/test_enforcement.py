"""Routes with `authz: pdp`, over HTTP: what is asked, what passes, and what is never passed on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.cross_site import build_csrf_token
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.bff import run_command, start_bff
from tests.support.gateway import Answer, Gateway, echo, put_session
from tests.support.log_lines import wait_for_lines
from tests.support.raw_backend import RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT

pytestmark = pytest.mark.live

MAPPED: dict[str, Any] = {
    "GET": {"resource": "form", "action": "read", "id_from": "{path}"},
    "PUT": {"resource": "form", "action": "update", "id_from": "{path}", "props": {"kind": "$.kind", "v": "?v"}},
    "OPTIONS": {"resource": "form", "action": "describe"},
}
ROUTES: list[dict[str, Any]] = [
    {
        "path": "/api/forms/*",
        "upstream_path": "/v1/{path}",
        "id": "forms",
        "authz": "pdp",
        "authz_map": MAPPED,
        "methods": ["GET", "PUT", "OPTIONS", "DELETE"],
    },
    {"path": "/api/listed/{id}", "upstream_path": "/listed/{id}", "authz": "pdp", "methods": ["GET"]},
    {
        "path": "/api/stream",
        "upstream_path": "/stream",
        "authz": "pdp",
        "streaming": True,
        "methods": ["GET"],
        "authz_map": {"GET": {"resource": "feed", "action": "follow"}},
    },
    {
        "path": "/api/downloads/*",
        "upstream_path": "/v1/{path}",
        "authz": "pdp",
        "authz_map": {"GET": {"resource": "file", "action": "read"}},
        "methods": ["GET"],
        "navigation": True,
    },
    {
        "path": "/api/limited/*",
        "upstream_path": "/v1/{path}",
        "authz": "pdp",
        "authz_map": {"GET": {"resource": "form", "action": "read", "id_from": "{path}"}},
        "methods": ["GET"],
        "rate_limit": "2/day",
    },
    {"path": "/api/free/*", "upstream_path": "/v1/{path}", "authz": "none"},
]
PDP = {
    "subject_claims": ["name"],
    "context": ["route_id", "client_address"],
    "endpoint_map": {"/api/listed/{id}": {"GET": {"resource": "listed", "action": "read", "id_from": "{id}"}}},
    "cache": {"ttl_allow": 300, "ttl_deny": 300},
}


class World:
    """A BFF with one worker between a decision point and a backend that both remember."""

    def __init__(self, gateway: Gateway, pdp: AuthzenPdp) -> None:
        self.gateway = gateway
        self.pdp = pdp

    def call(self, method: str, target: str, *lines: str, body: bytes = b"") -> Answer:
        return self.gateway.call(method, target, *lines, body=body)

    def put_json(self, target: str, body: bytes, content_type: str = "application/json") -> Answer:
        return self.call("PUT", target, f"Content-Type: {content_type}", body=body)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with RawBackend(echo) as backend, AuthzenPdp() as pdp:
        directory = tmp_path_factory.mktemp("bff")
        (directory / "config").mkdir(parents=True)
        document = {"connection": {"base_url": pdp.url, "timeout": 1}, "retry": {"max_retries": 0}, **PDP}
        (directory / "config" / "pdp.yaml").write_text(json.dumps(document))
        bff = start_bff(
            directory,
            issuer=f"http://127.0.0.1:{find_closed_port()}",
            client=BASIC_CLIENT,
            backend_url=backend.url,
            workers=1,
            settings={"authz": {"validation_strict": False}},
            routes={
                "services": {"recorder": {"base_url": backend.url, "token": {"mode": "none"}}},
                "routes": [{"target_service": "recorder", "auth": "session", **route} for route in ROUTES],
            },
        )
        try:
            sessions, session_id = put_session(bff)
            yield World(Gateway(bff, backend, session_id, sessions), pdp)
        finally:
            bff.stop()


@pytest.fixture
def world(started: World) -> World:
    """Each test has a session of its own, so that no decision of another one is remembered."""
    started.gateway.sessions, started.gateway.session_id = put_session(started.gateway.bff)
    started.gateway.take_requests()
    started.pdp.questions.clear()
    started.pdp.requests.clear()
    started.pdp.answer = None
    started.pdp.decide, started.pdp.explain = lambda _: True, lambda _: None
    return started


def test_the_question_is_built_from_the_route_the_session_and_what_the_configuration_names(world: World) -> None:
    assert world.call("GET", "/api/forms/a%20b?x=1", "X-Correlation-ID: call-7").status == 200
    [question] = world.pdp.questions
    assert question == {
        "subject": {"type": "user", "id": "alice", "properties": {"name": "Alice Ä"}},
        "action": {"name": "read"},
        "resource": {"type": "form", "id": "a b"},
        "context": {"route_id": "forms", "client_address": "127.0.0.1"},
    }
    assert world.pdp.evaluations()[-1].headers["x-request-id"] == "call-7"
    assert world.gateway.take_requests()[0].request_line == b"GET /v1/a%20b?x=1 HTTP/1.1"


def test_the_command_that_explains_shows_the_question_that_is_asked(world: World, tmp_path: Path) -> None:
    body = b'{"kind": "invoice", "other": [1, 2]}'
    assert world.put_json("/api/forms/a%20b?v=2", body).status == 200
    [question] = world.pdp.questions
    (tmp_path / "claims.json").write_text(json.dumps({"sub": "alice", "name": "Alice Ä"}), encoding="utf-8")
    (tmp_path / "body.json").write_bytes(body)
    world.pdp.decide, world.pdp.explain = lambda _: False, lambda _: {"reason_user": "Only its owner may."}
    arguments = ["routes", "explain", "PUT", "/api/forms/a%20b?v=2", "--json", "--ask", "--from", "127.0.0.1"]
    files = ["--as", str(tmp_path / "claims.json"), "--body", str(tmp_path / "body.json")]
    explained = run_command(world.gateway.bff, *arguments, *files)
    assert (explained.returncode, explained.stderr) == (1, "")
    explanation = json.loads(explained.stdout)
    assert json.loads(explanation["question"]["text"]) == question == world.pdp.questions[-1]
    assert explanation["decision"] == {"asked": True, "allowed": False, "reason": "Only its owner may."}
    assert (explanation["refusal"]["code"], explanation["backend"]) == ("access_denied", None)


def test_a_decision_is_remembered_and_the_call_still_passes(world: World) -> None:
    for _ in range(5):
        assert world.call("GET", "/api/forms/42").status == 200
    assert len(world.pdp.questions) == 1
    assert len(world.gateway.take_requests()) == 5


def test_a_refusal_tells_the_user_why_and_nothing_else(world: World) -> None:
    world.pdp.decide = lambda _: False
    world.pdp.explain = lambda _: {"reason_user": {"en": "Only its owner may."}, "reason_admin": "policy-17 row 3"}
    answer = world.call("GET", "/api/forms/42")
    problem = json.loads(answer.body)
    assert (answer.status, answer.code, problem["reason"]) == (403, "access_denied", "Only its owner may.")
    assert b"policy-17" not in answer.body
    assert world.gateway.take_requests() == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, "text/plain", b""), id="D1-500"),
        pytest.param((200, "text/html", b"<html>"), id="D1-html"),
        pytest.param((200, "application/json", b'{"decision": "true"}'), id="D1-text"),
        pytest.param((200, "application/json", b"{}"), id="D1-missing"),
        pytest.param((401, "application/json", b'{"decision": true}'), id="D1-401"),
    ],
)
def test_without_a_decision_nothing_passes(world: World, answer: tuple[int, str, bytes]) -> None:
    world.pdp.answer = answer
    refused = world.call("GET", "/api/forms/42")
    assert (refused.status, refused.code) == (503, "pdp_unavailable")
    assert world.gateway.take_requests() == []
    world.pdp.answer = None
    assert world.call("GET", "/api/forms/42").status == 200  # D5: errors are not remembered


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_d7_no_method_goes_past_the_decision_point(world: World, method: str) -> None:
    world.pdp.decide = lambda _: False
    assert world.call(method, "/api/forms/42").status == 403
    assert [question["action"]["name"] for question in world.pdp.questions] == [
        {"HEAD": "read", "OPTIONS": "describe"}[method]
    ]
    assert world.gateway.take_requests() == []


def test_d7_a_stream_is_decided_before_it_opens(world: World) -> None:
    world.pdp.decide = lambda _: False
    assert world.call("GET", "/api/stream").status == 403
    assert world.gateway.take_requests() == []


def test_d8_what_nobody_mapped_is_refused(world: World) -> None:
    refused = world.call("DELETE", "/api/forms/42")
    assert (refused.status, refused.code) == (403, "unmapped")
    assert (world.pdp.questions, world.gateway.take_requests()) == ([], [])


def test_the_endpoint_map_serves_routes_without_a_map_of_their_own(world: World) -> None:
    assert world.call("GET", "/api/listed/7").status == 200
    assert world.pdp.questions[0]["resource"] == {"type": "listed", "id": "7"}


def test_a_route_that_asks_nobody_asks_nobody(world: World) -> None:
    world.pdp.decide = lambda _: False
    assert world.call("GET", "/api/free/x").status == 200
    assert world.pdp.questions == []


def test_a_call_over_its_limit_is_refused_before_anybody_is_asked(world: World) -> None:
    """Each asks about a form of its own, so that nothing is remembered."""
    answers = [world.call("GET", f"/api/limited/{number}") for number in range(5)]
    passed = [number for number, answer in enumerate(answers) if answer.status == 200]
    assert 2 <= len(passed) < 5, "a day may have begun in between"
    assert {answer.code for answer in answers if answer.status != 200} == {"rate_limited"}
    assert [question["resource"]["id"] for question in world.pdp.questions] == [str(number) for number in passed]
    assert len(world.pdp.evaluations()) == len(world.pdp.questions)
    assert len(world.gateway.take_requests()) == len(passed)


def test_what_the_question_needs_of_the_body_is_read_and_the_same_bytes_go_on(world: World) -> None:
    body = b'{ "kind":"public" , "title": "\xc3\x84" }'
    assert world.put_json("/api/forms/42?v=1%202", body).status == 200
    assert world.pdp.questions[0]["resource"]["properties"] == {"kind": "public", "v": "1 2"}
    assert world.gateway.take_requests()[0].body == body


def test_a_chunked_body_is_read_too(world: World) -> None:
    head = [
        "PUT /api/forms/42 HTTP/1.1",
        f"Host: {world.gateway.host}",
        f"Cookie: {world.gateway.cookie}",
        f"X-CSRF-Token: {build_csrf_token(world.gateway.session_id)}",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
        "Connection: close",
    ]
    body = b'5\r\n{"kin\r\nc\r\nd": "draft"}\r\n0\r\n\r\n'
    assert world.gateway.send("\r\n".join([*head, "", ""]).encode() + body).status == 200
    assert world.pdp.questions[0]["resource"]["properties"] == {"kind": "draft"}
    assert world.gateway.take_requests()[0].body == b'{"kind": "draft"}'


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        pytest.param(b"kind=public", "application/x-www-form-urlencoded", 400, id="form"),
        pytest.param(b"{", "application/json", 400, id="not-json"),
        pytest.param(b'{"kind": "public", "kind": "secret"}', "application/json", 400, id="D6-name-twice"),
        pytest.param(b'{"kind": {"a": 1}}', "application/json", 400, id="wrong-type"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, "application/json", 400, id="nested"),
        pytest.param(b'{"kind": "\xff"}', "application/json", 400, id="bad-utf8"),
        pytest.param(b'{"x": "' + b"x" * 1_100_000 + b'"}', "application/json", 413, id="large"),
    ],
)
def test_a_body_that_cannot_be_judged_goes_nowhere(world: World, body: bytes, content_type: str, status: int) -> None:
    assert world.put_json("/api/forms/42", body, content_type).status == status
    assert (world.pdp.questions, world.gateway.take_requests()) == ([], [])


def test_a_compressed_body_cannot_be_judged(world: World) -> None:
    refused = world.call("PUT", "/api/forms/42", "Content-Type: application/json", "Content-Encoding: gzip", body=b"{}")
    assert (refused.status, world.gateway.take_requests()) == (400, [])


def test_a_decision_that_asks_for_a_stronger_login_becomes_a_step_up(world: World) -> None:
    world.pdp.decide, world.pdp.explain = lambda _: False, lambda _: {"acr_values": "gold"}
    answer = world.call("GET", "/api/forms/42")
    assert (answer.status, answer.code) == (401, "insufficient_user_authentication")
    assert 'acr_values="gold"' in (answer.get("WWW-Authenticate") or "")
    assert "acr_values=gold" in json.loads(answer.body)["login_url"]


def test_a_page_is_not_sent_round_for_a_login_that_nobody_can_promise(world: World) -> None:
    """A provider may take `acr_values` for a wish; then the decision would be the same after each login."""
    world.pdp.decide, world.pdp.explain = lambda _: False, lambda _: {"acr_values": "gold"}
    answer = world.call("GET", "/api/downloads/1", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    assert (answer.status, answer.code) == (401, "insufficient_user_authentication")


def test_d4_a_remembered_permission_is_gone_with_its_session(world: World) -> None:
    assert world.call("GET", "/api/forms/42").status == 200
    old_cookie = world.gateway.session_id
    world.gateway.sessions.end(old_cookie)
    assert world.call("GET", "/api/forms/42").status == 401
    world.gateway.sessions, world.gateway.session_id = put_session(world.gateway.bff)
    world.pdp.decide = lambda _: False
    assert world.call("GET", "/api/forms/42").status == 403


def test_d4_a_remembered_permission_is_gone_with_the_role_it_was_given_for(world: World) -> None:
    """L27. The question names no role, so that only what it is remembered for can tell the two apart."""
    sessions, key = world.gateway.sessions, world.gateway.sessions.session_key(world.gateway.session_id)
    sessions.change_claims(key, lambda claims: {**claims, "roles": ["editor"]})
    assert world.call("GET", "/api/forms/42").status == 200
    world.pdp.decide = lambda _: False
    assert world.call("GET", "/api/forms/42").status == 200
    sessions.change_claims(key, lambda claims: {**claims, "roles": []})
    assert world.call("GET", "/api/forms/42").status == 403


def test_every_fresh_decision_is_in_the_audit_trail_and_a_remembered_one_in_the_access_line(world: World) -> None:
    logs = [world.gateway.bff.child.log_path]
    for _ in range(2):
        world.call("GET", "/api/forms/audited")
    accesses = wait_for_lines(logs, count=2, log="access", path="/api/forms/audited")
    assert [line["decision"] for line in accesses] == ["allow", "allow (remembered)"]
    [decided] = wait_for_lines(logs, log="audit", resource_id="audited")
    assert (decided["event"], decided["user_id"], decided["action"]) == ("access.decided", "alice", "read")
    assert (decided["decision"], decided["route_id"]) == ("allow", "forms")


def test_every_refusal_is_in_the_audit_trail_with_who_what_and_why(world: World) -> None:
    world.pdp.decide, world.pdp.explain = lambda _: False, lambda _: {"reason_user": "No.", "reason_admin": "policy-17"}
    for _ in range(2):
        world.call("GET", "/api/forms/refused")
    world.call("DELETE", "/api/forms/refused")
    world.pdp.answer = (500, "text/plain", b"")
    world.put_json("/api/forms/refused", b'{"kind": "of-the-body"}')
    log = world.gateway.bff.child.log_path
    refusals = wait_for_lines([log], count=4, log="audit", path="/api/forms/refused")
    told = [(line["code"], line["method"], line.get("decision"), line.get("reason")) for line in refusals]
    assert told == [
        ("access_denied", "GET", "deny", "No."),
        ("access_denied", "GET", "deny (remembered)", "No."),
        ("unmapped", "DELETE", None, None),
        ("pdp_unavailable", "PUT", None, None),
    ]
    assert {(line["user_id"], line["route_id"]) for line in refusals} == {("alice", "forms")}
    assert all(line["duration_ms"] > 0 for line in refusals)
    text = log.read_text("utf-8")
    assert not [word for word in ("policy-17", "of-the-body") if word in text]
