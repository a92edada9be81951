"""A call whose bytes came before skips what cannot have changed, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.core.cross_site import build_csrf_token
from app.core.errors import RateLimitedError
from app.gateway import pipeline as pipeline_module
from app.gateway.backend_lines import LONGEST_KEPT_BYTES
from app.gateway.fast_head import HeadLimits
from app.gateway.known_heads import KnownHeads
from app.gateway.messages import ProxyRequest, ProxyResponse
from app.gateway.pipeline import Pipeline
from app.gateway.precedent import Precedent
from app.observability.access import AccessRecord
from app.services.pdp_answers import Decision
from app.services.session_store import SessionRecord
from app.services.upstream_response import UpstreamResponse
from bench.hot_path import ReadyBackend, SilentSocket, build_call, build_door

SCOPE = ("demo", "alice", "reference", "0")


class NotingBackend(ReadyBackend):
    def __init__(self) -> None:
        super().__init__()
        self.heads: list[tuple[str, bytes]] = []

    def open(self, service: object, request: Any) -> UpstreamResponse:
        self.heads.append((request.target, request.encoded_headers))
        return super().open(service, request)


class Denying:
    """A decision point that allows nothing, and lists what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def evaluate(self, question: bytes, request_id: str) -> Decision:
        self.asked.append(json.loads(question))
        return Decision(is_allowed=False)


class World:
    """A browser that is logged in, and the pipeline that it calls through a door with a memory."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BFF_CONFIG_DIR", str(folder))
        self.monkeypatch = monkeypatch
        self.pipeline, self.usual = build_call(folder)
        self.heads = KnownHeads(
            HeadLimits(4094, 100, 8190), self.pipeline.read_head, self.pipeline.claim, time.monotonic
        )
        self.backend = NotingBackend()
        monkeypatch.setattr(self.pipeline, "_upstream", self.backend)

    def call(self, received: bytes | None = None, peer: str = "127.0.0.1") -> tuple[int, str]:
        """Returns the answer's status and our code for an error."""
        head = self.heads.parse(received or self.usual, peer)
        assert head is not None
        request = ProxyRequest(
            head.method, head.raw_target, head.facts.lines, None, peer, "http", head.claim, head.facts, head.precedent
        )
        response = self.pipeline.handle(request)
        body = b"".join(response.body)
        response.close()
        self.heads.keep(head)
        return response.status, _find_code(response, body)

    def find_precedent(self, received: bytes | None = None) -> Precedent:
        head = self.heads.parse(received or self.usual, "127.0.0.1")
        assert head is not None
        assert head.precedent is not None
        return head.precedent

    def count(self, name: str) -> list[None]:
        """Returns a list that grows with each call of a function that the pipeline uses."""
        calls: list[None] = []
        counted: Callable[..., Any] = getattr(pipeline_module, name)

        def count(*args: Any, **named: Any) -> Any:
            calls.append(None)
            return counted(*args, **named)

        self.monkeypatch.setattr(pipeline_module, name, count)
        return calls


class ChangedSessions:
    """The store, with each record changed as it is found."""

    def __init__(self, world: World, change: Callable[[SessionRecord], SessionRecord]) -> None:
        self._store = world.pipeline._sessions
        self.change = change
        self.touch: Callable[..., object] = self._store.touch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def find_by_key(self, key: str) -> SessionRecord | None:
        record = self._store.find_by_key(key)
        return self.change(record) if record is not None else None


def _find_code(response: ProxyResponse, body: bytes) -> str:
    return str(json.loads(body)["code"]) if response.status >= 400 else ""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_what_follows_from_the_bytes_is_looked_at_twice_at_most(world: World) -> None:
    """The first call makes the lines known, the second the request line behind them; all others have a precedent."""
    checked = [
        world.count(name) for name in ("check_unrepeated_headers", "check_target_fits_route", "check_csrf_token")
    ]
    assert [world.call() for _ in range(5)] == [(200, "")] * 5
    assert [len(calls) for calls in checked] == [2, 2, 2]


def test_the_backend_gets_the_same_with_a_precedent_but_for_the_ids(world: World) -> None:
    for _ in range(4):
        world.call()
    (first_target, first), *_, (last_target, last) = world.backend.heads
    assert first_target == last_target
    ids = (b"X-Correlation-ID: ", b"traceparent: ")
    kept = [[line for line in head.split(b"\r\n") if not line.startswith(ids)] for head in (first, last)]
    assert kept[0] == kept[1]
    assert b"X-User-ID: alice" in kept[0]
    assert {len(head.split(b"\r\n")) - len(lines) for head, lines in zip((first, last), kept, strict=True)} == {2}
    assert first != last


def test_the_record_of_a_call_with_a_precedent_says_as_much(world: World) -> None:
    records: list[AccessRecord] = []
    world.monkeypatch.setattr("app.observability.access.record", records.append)
    for _ in range(4):
        world.call()
    _, second, _, fourth = records
    assert second.route_id == "api-forms"
    own = {"time": 0.0, "request_id": "", "trace_id": "", "duration_ms": 0.0, "upstream_ms": 0.0}
    assert replace(second, **own) == replace(fourth, **own)


def test_the_door_of_the_worker_hands_precedents_on(world: World) -> None:
    door = build_door(world.pipeline)
    for _ in range(3):
        head = world.heads.parse(world.usual, "127.0.0.1")
        assert head is not None
        assert door.carry_plain(head, SilentSocket(), "127.0.0.1")
        world.heads.keep(head)
    assert world.find_precedent().has_passed


CROSS_SITE = (b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Site: cross-site")
WRITING = (b"GET ", b"DELETE ")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        pytest.param(CROSS_SITE, (403, "csrf_failed"), id="cross-site"),
        pytest.param(WRITING, (405, "method_not_allowed"), id="method"),
        pytest.param((b"Host: localhost:8000", b"Host: elsewhere.test"), (400, "unknown_host"), id="host"),
        pytest.param((b"/7?", b"/a%2fb?"), (400, "ambiguous_path"), id="path"),
    ],
)
def test_who_is_refused_is_refused_again_and_again(
    world: World, change: tuple[bytes, bytes], refusal: tuple[int, str]
) -> None:
    for _ in range(3):
        world.call()
    changed = world.usual.replace(*change)
    assert changed != world.usual
    assert [world.call(changed) for _ in range(4)] == [refusal] * 4
    assert world.call() == (200, "")


def test_a_precedent_is_of_one_request_line_and_one_address(world: World) -> None:
    for _ in range(3):
        world.call()
    assert world.find_precedent().has_passed
    assert not world.find_precedent(world.usual.replace(b"/7?", b"/8?")).has_passed
    head = world.heads.parse(world.usual, "192.0.2.1")
    assert head is not None
    assert head.precedent is None


def test_a_session_that_has_ended_has_no_precedent_to_lean_on(world: World) -> None:
    for _ in range(3):
        world.call()
    sessions: Any = world.pipeline._sessions
    head = world.heads.parse(world.usual, "127.0.0.1")
    assert head is not None
    assert head.facts.session_id is not None
    sessions.end(head.facts.session_id)
    assert world.call() == (401, "session_expired")


def test_a_login_that_has_grown_too_old_is_refused(world: World) -> None:
    _change_route(world, max_age_seconds=60)
    now = [1_000_000.0]
    sessions = ChangedSessions(world, lambda record: replace(record, auth_time=now[0]))
    world.monkeypatch.setattr(world.pipeline, "_sessions", sessions)
    world.monkeypatch.setattr(world.pipeline, "_clock", lambda: now[0])
    assert [world.call() for _ in range(3)] == [(200, "")] * 3
    sessions.change = lambda record: replace(record, auth_time=now[0] - 600)
    assert world.call() == (401, "insufficient_user_authentication")


def test_a_writing_call_without_the_right_token_is_refused_again_and_again(world: World) -> None:
    for csrf_line in (b"", b"X-CSRF-Token: of-another-session\r\n"):
        writing = world.usual.replace(b"GET /api/forms/7", b"DELETE /api/other-1/x")
        writing = writing.replace(b"Accept:", csrf_line + b"Accept:")
        assert [world.call(writing) for _ in range(4)] == [(403, "csrf_failed")] * 4
        assert not world.find_precedent(writing).has_passed


def test_a_writing_call_with_the_right_token_passes_again_and_again(world: World) -> None:
    head = world.heads.parse(world.usual, "127.0.0.1")
    assert head is not None
    session_id = head.facts.headers.get("cookie") or ""
    token = build_csrf_token(session_id.partition("bff_session=")[2].partition(";")[0])
    writing = world.usual.replace(b"GET /api/forms/7", b"DELETE /api/other-1/x")
    writing = writing.replace(b"Accept:", f"X-CSRF-Token: {token}\r\nAccept:".encode())
    assert [world.call(writing) for _ in range(4)] == [(200, "")] * 4
    assert world.find_precedent(writing).has_passed


def test_every_call_is_activity_of_its_session(world: World) -> None:
    touched: list[None] = []
    sessions = ChangedSessions(world, lambda record: record)
    sessions.touch = lambda *_: touched.append(None)
    world.monkeypatch.setattr(world.pipeline, "_sessions", sessions)
    for _ in range(5):
        world.call()
    assert len(touched) == 5


def test_a_switch_that_is_turned_off_comes_first(world: World) -> None:
    records: list[AccessRecord] = []
    world.monkeypatch.setattr("app.observability.access.record", records.append)
    for _ in range(3):
        world.call()
    world.monkeypatch.setattr(world.pipeline._enforcer._switch, "is_on", False)
    world.call()
    assert [record.decision for record in records] == ["allow", *["allow (remembered)"] * 2, "off"]


def test_a_bearer_is_asked_for_with_every_call(world: World) -> None:
    for _ in range(3):
        world.call()
    _change_route(world, auth="bearer")
    assert [world.call() for _ in range(2)] == [(401, "token_invalid")] * 2


def test_who_was_denied_is_denied_again_and_again(world: World) -> None:
    authorizer: Any = world.pipeline._enforcer._guard._authorizer
    world.monkeypatch.setattr(authorizer, "_decision_point", Denying())
    records: list[AccessRecord] = []
    world.monkeypatch.setattr("app.observability.access.record", records.append)
    assert [world.call() for _ in range(4)] == [(403, "access_denied")] * 4
    assert [record.decision for record in records] == ["deny", *["deny (remembered)"] * 3]
    assert not world.backend.heads


def test_limits_count_every_call(world: World) -> None:
    for _ in range(3):
        world.call()

    class Full:
        def check(self, *_: object) -> None:
            raise RateLimitedError(retry_after_seconds=1)

    world.monkeypatch.setattr(world.pipeline, "_limits", Full())
    assert world.call() == (429, "rate_limited")


def test_a_decision_that_is_no_longer_remembered_is_asked_for(world: World) -> None:
    for _ in range(3):
        world.call()
    authorizer: Any = world.pipeline._enforcer._guard._authorizer
    denying = Denying()
    world.monkeypatch.setattr(authorizer, "_decision_point", denying)
    assert world.call() == (200, "")
    authorizer._get_epoch = lambda: "another"
    assert world.call() == (403, "access_denied")
    assert len(denying.asked) == 1


def test_claims_that_change_ask_another_question_and_the_old_key_is_not_used(world: World) -> None:
    for _ in range(3):
        world.call()
    before = world.find_precedent().of_caller
    assert before is not None
    assert before.question_key is not None
    world.monkeypatch.setattr(
        world.pipeline,
        "_sessions",
        ChangedSessions(world, lambda record: replace(record, claims={"roles": []}, claims_version=9)),
    )
    authorizer: Any = world.pipeline._enforcer._guard._authorizer
    denying = Denying()
    world.monkeypatch.setattr(authorizer, "_decision_point", denying)
    assert world.call() == (403, "access_denied")
    assert [question["subject"]["properties"] for question in denying.asked] == [{"roles": []}]


def test_what_a_call_notes_for_claims_of_yesterday_is_lost() -> None:
    """Its session was read before the claims changed, its decision came after."""
    precedent = Precedent()
    slow = precedent.for_scope(SCOPE)
    fresh = precedent.for_scope((*SCOPE[:3], "1"))
    slow.question_key = b"of yesterday"
    assert precedent.for_scope((*SCOPE[:3], "1")) is fresh
    assert fresh.question_key is None
    assert precedent.for_scope(SCOPE).question_key is None


def test_long_names_are_not_kept(world: World) -> None:
    world.monkeypatch.setattr(
        world.pipeline,
        "_sessions",
        ChangedSessions(world, lambda record: replace(record, user_id="u" * LONGEST_KEPT_BYTES)),
    )
    assert [world.call() for _ in range(3)] == [(200, "")] * 3
    kept = world.find_precedent().of_caller
    assert kept is not None
    assert kept.lines is None
    assert all(b"X-User-ID: uuu" in head for _, head in world.backend.heads)


def test_nobody_is_named_in_a_repr() -> None:
    precedent = Precedent()
    precedent.for_scope(SCOPE).lines = b"X-User-ID: alice"
    assert "alice" not in repr(precedent)


def _change_route(world: World, **fields: object) -> None:
    """The table is read once a worker; here it is changed below the pipeline's feet."""
    pipeline: Pipeline = world.pipeline
    for route in pipeline._routes.routes:
        if route.path == "/api/forms/*":
            for name, value in fields.items():
                object.__setattr__(route, name, value)
