"""What a page is told about the permissions of its user: the decision point's answers, and no more than them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.core.cross_site import build_csrf_token
from app.services.session_store import NewSession
from tests.integration.login_world import CALL, ORIGIN, SESSION_COOKIE, build_app, build_settings
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.real_op import BASIC_CLIENT
from tests.unit.hooks.conftest import captured
from tests.unit.observability.captured_lines import CapturedLines

__all__ = ["captured"]

FORMS = {
    "path": "/api/forms/*",
    "target_service": "crud",
    "upstream_path": "/{path}",
    "auth": "session",
    "authz": "pdp",
    "methods": ["GET", "PUT", "DELETE"],
    "authz_map": {
        "GET": {"resource": "form", "action": "read", "id_from": "{path}"},
        "PUT": {"resource": "form", "action": "update", "id_from": "{path}"},
        "DELETE": {"resource": "form", "action": "delete", "id_from": "{path}"},
    },
}
ROUTES = {"services": {"crud": {"base_url": "http://127.0.0.1:9"}}, "routes": [FORMS]}
ENDPOINT_MAP = {
    "/api/forms/*": {"POST": {"resource": "form", "action": "create"}},
    "/api/notes/*": {"GET": {"resource": "note", "action": "read"}},
}
READ: dict[str, Any] = {"action": {"name": "read"}, "resource": {"type": "form", "id": "42"}}
ONE, SEVERAL, CAPABILITIES = "/access/v1/evaluation", "/access/v1/evaluations", "/api/me/capabilities"


def build_bff(directory: Path, pdp_url: str, **pdp_changes: Any) -> Flask:
    config = directory / "config"
    config.mkdir(parents=True, exist_ok=True)
    pdp = {
        "connection": {"base_url": pdp_url, "timeout": 1},
        "retry": {"max_retries": 0},
        "subject_claims": ["roles"],
        "context": ["acr", "client_address", "route_id"],
        "endpoint_map": ENDPOINT_MAP,
        **pdp_changes,
    }
    (config / "pdp.yaml").write_text(json.dumps(pdp), encoding="utf-8")
    settings = build_settings(directory, issuer="http://127.0.0.1:9", client=BASIC_CLIENT)
    return build_app(directory, settings, ROUTES)


@dataclass
class World:
    """Pages of Alice, and of people who are nobody."""

    app: Flask
    pdp: AuthzenPdp
    session_id: str = ""

    def __post_init__(self) -> None:
        self.session_id, _ = self.app.extensions["bff"].session_store.create(
            NewSession(
                user_id="alice",
                subject="sub-alice",
                provider="test",
                issuer="http://127.0.0.1:9",
                claims={"roles": ["editor"], "email": "alice@example.com"},
                acr="silver",
            )
        )

    @property
    def client(self) -> FlaskClient:
        client = self.app.test_client()
        client.set_cookie(SESSION_COOKIE, self.session_id, domain="localhost")
        return client

    def post(self, path: str, document: object, **headers: str) -> TestResponse:
        return self.post_bytes(path, json.dumps(document).encode(), **headers)

    def post_bytes(self, path: str, body: bytes, **headers: str) -> TestResponse:
        lines = {**CALL, "Content-Type": "application/json", "X-CSRF-Token": build_csrf_token(self.session_id)}
        return self.client.post(path, base_url=ORIGIN, data=body, headers={**lines, **headers})

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=ORIGIN, headers={**CALL, **headers})


@pytest.fixture
def world(tmp_path: Path, captured: CapturedLines) -> Iterator[World]:
    with AuthzenPdp() as pdp:
        yield World(build_bff(tmp_path, pdp.url), pdp)


def allow(*actions: str) -> Any:
    return lambda question: question["action"]["name"] in actions


# One question


def test_the_subject_is_the_sessions_user_whatever_the_page_says(world: World) -> None:
    subject = {"type": "service", "id": "mallory", "properties": {"roles": ["admin"]}}
    answer = world.post(ONE, {**READ, "subject": subject, "context": {"acr": "gold", "ip": "10.0.0.1"}})
    assert (answer.status_code, answer.json) == (200, {"decision": True})
    assert world.pdp.questions == [
        {
            "subject": {"type": "user", "id": "alice", "properties": {"roles": ["editor"]}},
            **READ,
            "context": {"acr": "silver", "client_address": "127.0.0.1"},
        }
    ]
    assert answer.headers["Cache-Control"] == "no-store"


def test_without_an_id_the_question_is_about_all_of_a_type(world: World) -> None:
    world.post(ONE, {**READ, "resource": {"type": "form"}})
    assert world.pdp.questions[0]["resource"] == {"type": "form", "id": "*"}


def test_of_a_refusal_only_the_words_for_the_user_are_told(world: World) -> None:
    world.pdp.decide = allow()
    world.pdp.explain = lambda _: {
        "reason_user": {"en": "Only owners may."},
        "reason_admin": "policy-17",
        "acr": "gold",
    }
    answer = world.post(ONE, READ)
    assert answer.json == {"decision": False, "context": {"reason_user": "Only owners may."}}


def test_the_decision_point_gets_the_correlation_id_and_the_page_its_own(world: World) -> None:
    answer = world.post(ONE, READ, **{"X-Correlation-ID": "call-7", "X-Request-ID": "page-3"})
    assert world.pdp.evaluations()[0].headers["x-request-id"] == "call-7"
    assert (answer.headers["X-Correlation-ID"], answer.headers["X-Request-ID"]) == ("call-7", "page-3")
    assert "X-Request-ID" not in world.post(ONE, READ, **{"X-Request-ID": "a b"}).headers


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        pytest.param(b"", "application/json", 400, id="empty"),
        pytest.param(b"{", "application/json", 400, id="not-json"),
        pytest.param(b'{"action": {"name": "read"}}', "application/json", 400, id="no-resource"),
        pytest.param(json.dumps(READ).encode(), "text/plain", 400, id="B-no-preflight"),
        pytest.param(json.dumps(READ).encode(), "application/json; charset=utf-16", 400, id="charset"),
        pytest.param(b'{"action":{"name":"read","name":"delete"},"resource":{"type":"f"}}', "application/json", 400,
                     id="name-twice"),
        pytest.param(b"[" * 5000 + b"]" * 5000, "application/json", 400, id="nested"),
        pytest.param(b'{"action":{"name":"\xff"},"resource":{"type":"f"}}', "application/json", 400, id="bad-utf8"),
        pytest.param(b'{"action":{"name":"\\ud800"},"resource":{"type":"f"}}', "application/json", 400, id="surrogate"),
        pytest.param(json.dumps(READ).encode() + b" " * 300_000, "application/json", 413, id="large"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [ONE, SEVERAL])
def test_what_is_no_question_asks_nobody(world: World, path: str, body: bytes, content_type: str, status: int) -> None:
    assert world.post_bytes(path, body, **{"Content-Type": content_type}).status_code == status
    assert world.pdp.questions == []


# Several


def test_several_questions_are_asked_at_once_and_answered_in_their_order(world: World) -> None:
    world.pdp.decide = allow("read", "delete")
    actions = ["update", "read", "delete", "update"]
    evaluations = [{"action": {"name": action}} for action in actions]
    answer = world.post(SEVERAL, {"resource": READ["resource"], "evaluations": evaluations})
    assert answer.json == {"evaluations": [{"decision": decision} for decision in (False, True, True, False)]}
    assert [question["action"]["name"] for question in world.pdp.questions] == ["update", "read", "delete"]
    assert len(world.pdp.evaluations()) == 1


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_the_semantics_are_those_of_the_specification(world: World, semantic: str, expected: list[bool]) -> None:
    world.pdp.decide = allow("read")
    evaluations = [{"action": {"name": name}} for name in ("read", "update", "read")]
    document = {**READ, "evaluations": evaluations, "options": {"evaluations_semantic": semantic}}
    answer = world.post(SEVERAL, document)
    assert answer.json == {"evaluations": [{"decision": decision} for decision in expected]}


def test_without_evaluations_the_answer_is_that_to_a_single_question(world: World) -> None:
    assert world.post(SEVERAL, READ).json == {"decision": True}


def test_each_question_of_a_batch_is_the_sessions_users(world: World) -> None:
    mallory = {"subject": {"type": "user", "id": "mallory"}}
    world.post(SEVERAL, {**mallory, "evaluations": [{**READ, **mallory}, {**READ, "action": {"name": "update"}}]})
    assert {question["subject"]["id"] for question in world.pdp.questions} == {"alice"}


def test_a_decision_point_without_batches_is_asked_one_by_one(tmp_path: Path, captured: CapturedLines) -> None:
    with AuthzenPdp(has_batches=False) as pdp:
        world = World(build_bff(tmp_path, pdp.url), pdp)
        pdp.decide = allow("read")
        for form in ("1", "2"):
            evaluations = [{"action": {"name": name}} for name in ("read", "update")]
            answer = world.post(SEVERAL, {"resource": {"type": "form", "id": form}, "evaluations": evaluations})
            assert answer.json == {"evaluations": [{"decision": True}, {"decision": False}]}
    paths = [request.path for request in pdp.evaluations()]
    assert paths == [SEVERAL, *[ONE] * 4]


# What may be done


def test_one_call_tells_all_that_the_user_may_do(world: World) -> None:
    world.pdp.decide = allow("read", "create")
    answer = world.get(f"{CAPABILITIES}?resource=form&id=a%2F4+2")
    assert answer.json == {"resource": "form", "id": "a/4 2", "actions": ["create", "read"]}
    assert [question["action"]["name"] for question in world.pdp.questions] == ["create", "delete", "read", "update"]
    assert {question["resource"]["id"] for question in world.pdp.questions} == {"a/4 2"}
    assert len(world.pdp.evaluations()) == 1


def test_what_was_just_asked_is_not_asked_again(world: World) -> None:
    for _ in range(3):
        world.get(f"{CAPABILITIES}?resource=form")
    world.post(ONE, {**READ, "resource": {"type": "form"}})
    assert len(world.pdp.questions) == 4


def test_of_a_type_that_no_mapping_knows_nothing_can_be_done(world: World) -> None:
    assert world.get(f"{CAPABILITIES}?resource=spaceship").json == {"resource": "spaceship", "id": "*", "actions": []}
    assert world.pdp.questions == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?id=42",
        "?resource=",
        "?resource=form&id=",
        "?resource=form&resource=note",
        "?resource=form&id=1&id=2",
        "?resource=form&i%64=1&id=2",
        "?resource=form&id=%ff",
        f"?resource={'x' * 257}",
    ],
)
def test_a_malformed_query_asks_nobody(world: World, query: str) -> None:
    answer = world.get(CAPABILITIES + query)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "bad_request")
    assert world.pdp.questions == []


# Who may ask


@pytest.mark.parametrize("path", [ONE, SEVERAL])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"X-CSRF-Token": ""}, "csrf_failed", id="B1-no-token"),
        pytest.param({"X-CSRF-Token": "x" * 43}, "csrf_failed", id="B1-wrong-token"),
        pytest.param({"Origin": "https://evil.example"}, "csrf_failed", id="B1-origin"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, "csrf_failed", id="B1-cross-site"),
    ],
)
def test_other_sites_cannot_ask(world: World, path: str, headers: dict[str, str], code: str) -> None:
    answer = world.post(path, READ, **headers)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, code)
    assert world.pdp.questions == []


def test_other_sites_cannot_learn_what_may_be_done(world: World) -> None:
    answer = world.get(f"{CAPABILITIES}?resource=form", **{"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, "csrf_failed")


def test_without_a_session_nobody_is_answered(world: World) -> None:
    """Nor with a bearer token: the subject is the session's user."""
    bearer = {**CALL, "Authorization": "Bearer abc"}
    client = world.app.test_client()
    for path in (ONE, SEVERAL):
        answer = client.post(path, base_url=ORIGIN, json=READ, headers=bearer)
        assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "not_authenticated")
    assert client.get(f"{CAPABILITIES}?resource=form", base_url=ORIGIN, headers=bearer).status_code == 401
    world.app.extensions["bff"].session_store.end(world.session_id)
    assert world.post(ONE, READ).headers["X-BFF-Error"] == "session_expired"
    assert world.pdp.questions == []


# The decision point


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, "text/plain", b""), id="D1-500"),
        pytest.param((200, "application/json", b'{"decision": "true"}'), id="D1-text"),
        pytest.param((200, "application/json", b'{"evaluations": [{"decision": true}]}'), id="D1-too-few"),
    ],
)
def test_d1_no_answer_is_no_permission(world: World, answer: tuple[int, str, bytes]) -> None:
    world.pdp.answer = answer
    several = {"evaluations": [READ, {**READ, "action": {"name": "update"}}]}
    refusals = [world.post(ONE, READ), world.post(SEVERAL, several), world.get(f"{CAPABILITIES}?resource=form")]
    assert {(refusal.status_code, refusal.headers["X-BFF-Error"]) for refusal in refusals} == {(503, "pdp_unavailable")}


def test_where_no_decision_point_is_configured_there_is_no_answer(tmp_path: Path, captured: CapturedLines) -> None:
    routes = {**ROUTES, "routes": [{**FORMS, "authz": "none"}]}
    app = build_app(tmp_path, build_settings(tmp_path, issuer="http://127.0.0.1:9", client=BASIC_CLIENT), routes)
    with AuthzenPdp() as pdp:
        assert World(app, pdp).post(ONE, READ).headers["X-BFF-Error"] == "pdp_unavailable"


def test_with_enforcement_switched_off_everything_is_allowed_and_nobody_asked(
    tmp_path: Path, captured: CapturedLines
) -> None:
    settings = build_settings(tmp_path, issuer="http://127.0.0.1:9", client=BASIC_CLIENT)
    with AuthzenPdp() as pdp:
        world = World(build_app(tmp_path, {**settings, "pdp": {"enabled": False}}, ROUTES), pdp)
        assert world.post(SEVERAL, {"evaluations": [READ]}).json == {"evaluations": [{"decision": True}]}
        assert world.get(f"{CAPABILITIES}?resource=form").json == {
            "resource": "form", "id": "*", "actions": ["delete", "read", "update"]
        }  # fmt: skip
        assert pdp.questions == []


def test_d4_what_was_remembered_is_gone_with_the_claims(world: World) -> None:
    world.post(ONE, READ)
    sessions = world.app.extensions["bff"].session_store
    sessions.change_claims(sessions.session_key(world.session_id), lambda claims: {**claims, "email": ""})
    world.pdp.decide = allow()
    assert world.post(ONE, READ).json == {"decision": False}


def test_every_fresh_decision_is_in_the_audit_trail(world: World, captured: CapturedLines) -> None:
    world.post(ONE, READ)
    world.post(SEVERAL, {"evaluations": [READ, {**READ, "action": {"name": "update"}}]})
    decided = [line for line in captured.of("audit") if line["event"] == "access.decided"]
    told = [(line["user_id"], line["route_id"], line["action"], line["decision"]) for line in decided]
    assert told == [
        ("alice", "authzen.evaluate", "read", "allow"),
        ("alice", "authzen.evaluate_all", "update", "allow"),
    ]
