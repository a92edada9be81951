"""Bearer callers through the running product, with tokens of the real provider: JWTs and ones that are looked up."""

from __future__ import annotations

import json
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.support.bff import Bff, start_bff
from tests.support.foreign_client import ForeignClient
from tests.support.gateway import Answer, parse_answer
from tests.support.log_lines import wait_for_lines
from tests.support.log_scan import find_leaks
from tests.support.raw_backend import Conversation, RawBackend, RecordedRequest, find_closed_port
from tests.support.real_op import CRUD_AUDIENCE, RealOp, start_op

pytestmark = pytest.mark.live

OPAQUE_AUDIENCE = "urn:test:api:opaque"
AWAY_AUDIENCE = "urn:test:away"


@dataclass(slots=True)
class World:
    op: RealOp
    backend: RawBackend
    bff: Bff
    client: ForeignClient

    def call(self, token: str | None, path: str = "/api/jobs/1", *lines: str, method: str = "GET") -> Answer:
        head = [f"{method} {path} HTTP/1.1", f"Host: localhost:{self.bff.port}", "Connection: close", *lines]
        if token is not None:
            head.append(f"Authorization: Bearer {token}")
        with socket.create_connection(("127.0.0.1", self.bff.port), timeout=20) as connection:
            connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
            received = b""
            while piece := connection.recv(65536):
                received += piece
        return parse_answer(received, method)

    def take_request(self) -> RecordedRequest:
        """The one request that reached the backend since the last time."""
        [request] = self.backend.requests
        self.backend.requests.clear()
        return request

    def count_introspections(self) -> int:
        return len([event for event in self.op.events("request") if event["path"] == "/token/introspection"])


def answer_ok(conversation: Conversation) -> None:
    while True:
        conversation.read_request()
        conversation.send(b'HTTP/1.1 200 OK\r\nWWW-Authenticate: Bearer realm="backend"\r\nContent-Length: 2\r\n\r\nok')


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("bearer")
    op = start_op(directory)
    with RawBackend(answer_ok) as backend:
        entries: list[dict[str, Any]] = [
            {
                "name": "jwt",
                "provider": "partner",
                "issuer": op.issuer,
                "audience": CRUD_AUDIENCE,
                "jwks_url": f"{op.issuer}/jwks",
                "claims_mapping": {"roles": ["roles"], "permissions": ["scope"]},
            },
            {
                "name": "opaque",
                "issuer": op.issuer,
                "audience": OPAQUE_AUDIENCE,
                "introspection_url": f"{op.issuer}/token/introspection",
                "provider": "opaque",
            },
            {
                "name": "away",
                "issuer": "https://away.example.com",
                "audience": AWAY_AUDIENCE,
                "jwks_url": f"http://127.0.0.1:{find_closed_port()}/jwks",
            },
        ]
        bff = start_bff(
            directory / "bff",
            issuer=op.issuer,
            client=op.basic_client,
            backend_url=backend.url,
            workers=1,
            routes=build_routes(backend.url),
            idps=entries,
        )
        yield World(op, backend, bff, ForeignClient(op))
        bff.stop()
    leaks = find_leaks([bff.child.log_path], set(op.secrets()))
    op.stop()
    assert not leaks, leaks


def build_routes(backend_url: str) -> dict[str, Any]:
    route = {"auth": "bearer", "authz": "none", "upstream_path": "/{path}"}
    return {
        "services": {
            "plain": {"base_url": backend_url},
            "own": {
                "base_url": backend_url,
                "token": {"mode": "client_credentials", "audience": CRUD_AUDIENCE, "scope": "crud:read"},
            },
            "passing": {"base_url": backend_url, "token": {"mode": "user"}},
        },
        "routes": [
            {"path": "/api/jobs/*", "target_service": "plain", **route},
            {"path": "/api/own/*", "target_service": "own", **route},
            {"path": "/api/passing/*", "target_service": "passing", **route},
            {"path": "/api/files/*", "target_service": "plain", **route, "navigation": True},
        ],
    }


@pytest.fixture
def world(running: World) -> World:
    running.op.reset()
    running.backend.requests.clear()
    return running


def assert_token_invalid(answer: Answer, challenge: str = 'Bearer realm="bff", error="invalid_token"') -> None:
    assert (answer.status, answer.code) == (401, "token_invalid")
    assert answer.get_all("WWW-Authenticate") == [challenge]
    assert answer.get_all("Set-Cookie") == []
    assert answer.get("Content-Type") == "application/problem+json"


def test_a_users_jwt_opens_the_route_and_the_backend_is_told_who_calls(world: World) -> None:
    token = world.client.get_user_tokens(CRUD_AUDIENCE, "alice")["access_token"]
    answer = world.call(token, "/api/jobs/1", "X-User-ID: admin", "X-Session-ID: forged")
    assert answer.status == 200
    assert answer.get_all("Set-Cookie") == []
    assert answer.get_all("WWW-Authenticate") == ['Bearer realm="backend"']
    request = world.take_request()
    assert request.get_all("X-User-ID") == [b"alice"]
    assert request.get_all("X-Original-User") == [b"auth:account:partner:alice"]
    assert request.get_all("X-Session-ID") == request.get_all("Authorization") == []
    assert token.encode() not in request.head


def test_a_programs_own_token_opens_the_route_too_and_needs_no_csrf_token(world: World) -> None:
    token = world.client.get_service_token(CRUD_AUDIENCE)
    lines = ("Origin: https://elsewhere.example", "Sec-Fetch-Site: cross-site", "Content-Length: 0")
    assert world.call(token, "/api/jobs/1", *lines, method="POST").status == 200
    assert world.take_request().get_all("X-User-ID") == [world.client.client.client_id.encode()]


@pytest.mark.parametrize("path", ["/api/jobs/1", "/api/files/1"])
def test_without_a_token_a_caller_is_told_how_to_authenticate(world: World, path: str) -> None:
    navigation = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
    assert_token_invalid(world.call(None, path, *navigation), challenge='Bearer realm="bff"')
    assert world.backend.requests == []


def test_a_session_is_no_bearer_token(world: World) -> None:
    assert_token_invalid(world.call(None, "/api/jobs/1", f"Cookie: bff_session={'A' * 43}"), 'Bearer realm="bff"')


def test_two_authorization_lines_are_refused(world: World) -> None:  # H8
    token = world.client.get_service_token(CRUD_AUDIENCE)
    answer = world.call(token, "/api/jobs/1", "Authorization: Bearer other")
    assert (answer.status, answer.code) == (400, "bad_request")
    assert world.backend.requests == []


@pytest.mark.parametrize("nonce", ["", "n-1"])
def test_an_id_token_is_no_access_token(world: World, nonce: str) -> None:
    tokens = world.client.get_user_tokens(CRUD_AUDIENCE, "alice", nonce=nonce)
    assert_token_invalid(world.call(tokens["id_token"]))


def test_a_token_for_another_api_is_refused(world: World) -> None:  # T1
    assert_token_invalid(world.call(world.client.get_service_token("urn:test:pdp")))


def change(token: str, part: int, **members: Any) -> str:
    parts = token.split(".")
    said = json.loads(urlsafe_b64decode(parts[part] + "=="))
    parts[part] = urlsafe_b64encode(json.dumps({**said, **members}).encode()).rstrip(b"=").decode()
    return ".".join(parts)


@pytest.mark.parametrize(
    ("part", "members"),
    [
        pytest.param(0, {"alg": "none"}, id="T1-alg-none"),
        pytest.param(0, {"alg": "HS256"}, id="T1-hs256"),
        pytest.param(1, {"sub": "admin"}, id="another-user"),
        pytest.param(1, {"exp": 1e300}, id="T7-exp-huge"),
        pytest.param(1, {"exp": "x"}, id="T7-exp-text"),
        pytest.param(1, {"aud": {CRUD_AUDIENCE: 1}}, id="T7-aud-object"),
    ],
)
def test_a_changed_token_is_refused(world: World, part: int, members: dict[str, Any]) -> None:
    token = world.client.get_service_token(CRUD_AUDIENCE)
    assert world.call(token).status == 200
    assert_token_invalid(world.call(change(token, part, **members)))


def test_a_token_that_does_not_fit_into_a_head_is_refused(world: World) -> None:  # T6
    assert world.call("a" * 7000).status == 401
    assert world.call("a" * 100_000).status == 431


def test_the_bffs_own_token_goes_upstream_in_place_of_the_callers(world: World) -> None:
    token = world.client.get_service_token(CRUD_AUDIENCE)
    assert world.call(token, "/api/own/1").status == 200
    request = world.take_request()
    [authorization] = request.get_all("Authorization")
    assert authorization.startswith(b"Bearer ")
    assert token.encode() not in request.head


def test_the_callers_own_token_goes_upstream_only_where_the_service_says_so(world: World) -> None:
    token = world.client.get_service_token(CRUD_AUDIENCE)
    assert world.call(token, "/api/passing/1").status == 200
    assert world.take_request().get_all("Authorization") == [b"Bearer " + token.encode()]


def test_a_token_that_is_looked_up_opens_the_route_with_one_question(world: World) -> None:
    token = world.client.get_user_tokens(OPAQUE_AUDIENCE, "bob")["access_token"]
    assert "." not in token
    assert [world.call(token).status for _ in range(3)] == [200, 200, 200]
    assert world.backend.requests[0].get_all("X-Original-User") == [b"auth:account:opaque:bob"]
    assert world.count_introspections() == 1


def test_a_revoked_token_is_refused_and_not_asked_about_on_each_call(world: World) -> None:
    token = world.client.get_user_tokens(OPAQUE_AUDIENCE, "bob")["access_token"]
    world.client.revoke(token)
    for _ in range(3):
        assert_token_invalid(world.call(token))
    assert world.count_introspections() == 1


def test_a_refresh_token_is_no_access_token(world: World) -> None:
    refresh_token = world.client.get_user_tokens(OPAQUE_AUDIENCE, "bob")["refresh_token"]
    assert_token_invalid(world.call(refresh_token))


def test_nobody_is_refused_because_an_issuer_is_away(world: World) -> None:
    token = world.client.get_user_tokens(OPAQUE_AUDIENCE, "bob")["access_token"]
    world.op.fail("/token/introspection", status=500)
    answer = world.call(token)
    assert (answer.status, answer.code) == (503, "idp_unavailable")
    world.op.clear_faults()
    assert world.call(token).status == 200
    of_the_one_away = change(world.client.get_service_token(CRUD_AUDIENCE), 1, iss="https://away.example.com")
    answer = world.call(change(of_the_one_away, 1, aud=AWAY_AUDIENCE))
    assert (answer.status, answer.code) == (503, "idp_unavailable")


def test_a_call_by_token_leaves_an_access_line_that_names_the_user_and_no_session(world: World) -> None:
    token = world.client.get_user_tokens(CRUD_AUDIENCE, "carol")["access_token"]
    answer = world.call(token)
    request_id = answer.get("X-Correlation-ID")
    [record] = wait_for_lines([world.bff.child.log_path], log="access", request_id=request_id)
    assert record["user_id"] == "carol"
    assert record.get("session") is None


def test_the_session_endpoint_knows_nothing_of_bearer_tokens(world: World) -> None:
    token = world.client.get_user_tokens(CRUD_AUDIENCE, "alice")["access_token"]
    answer = requests.get(
        f"{world.bff.origin}/api/auth/session", headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_authenticated"
