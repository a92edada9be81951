"""A question that follows from who calls what is built once, as long as its decision is remembered, and then found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.core.errors import AccessDeniedError
from app.core.identity import Identity
from app.core.permissions import QuestionPolicy
from app.core.request_target import parse_request_target
from app.core.routes import PermissionMapping, RouteTable
from app.gateway.call import Call
from app.gateway.enforcement import LONGEST_KEPT_TARGET, Enforcer
from app.gateway.head_facts import HeadFacts
from app.gateway.messages import ProxyRequest
from app.services.authorizer import Authorizer
from app.services.decision_cache import DecisionCache
from app.services.enforcement_switch import EnforcementSwitch
from app.services.path_mapper import MappedCall, PathMapper
from app.services.pdp_answers import Decision
from app.services.permission_guard import PermissionGuard
from tests.support.identities import change_identity
from tests.unit.core.builders import ALICE, build_route

MAPPING = PermissionMapping("form", "read", "{path}", {"kind": "?kind"})
ROUTE = build_route("/forms/*", "/{path}", authz="pdp", authz_map={"GET": MAPPING, "POST": MAPPING})


class CountingMapper(PathMapper):
    mapped = 0

    def map_call(self, *args: Any) -> MappedCall:
        self.mapped += 1
        return super().map_call(*args)


class World:
    """A decision point that allows alice everything and others nothing, and lists what it was asked."""

    def __init__(self, context: tuple[str, ...] = (), ttl_seconds: float = 60) -> None:
        self.now = 0.0
        self.epoch = "1"
        self.asked: list[dict[str, Any]] = []
        self.counted: list[str] = []
        self.mapper = CountingMapper([ROUTE], {})
        self.table = RouteTable([ROUTE])
        policy = QuestionPolicy(subject_claims=("roles",), context_facts=context)
        cache = DecisionCache(
            ttl_allow_seconds=ttl_seconds, ttl_deny_seconds=ttl_seconds, max_size=100, monotonic=self.monotonic
        )
        authorizer = Authorizer(
            self,
            cache=cache,
            get_epoch=lambda: self.epoch,
            max_batch=1,
            count=self.counted.append,
            monotonic=self.monotonic,
        )
        guard = PermissionGuard(
            policy=policy,
            authorizer=authorizer,
            clock=self.monotonic,
            monotonic=self.monotonic,
            record=lambda *_, **__: None,
        )
        switch = EnforcementSwitch(is_on=True, count=self.counted.append, monotonic=self.monotonic)
        self.enforcer = Enforcer(mapper=self.mapper, guard=guard, switch=switch, monotonic=self.monotonic)

    def monotonic(self) -> float:
        return self.now

    def evaluate(self, question: bytes, request_id: str) -> Decision:
        self.asked.append(json.loads(question))
        return Decision(is_allowed=self.asked[-1]["subject"]["id"] == "alice")

    def evaluate_all(self, questions: Sequence[bytes], request_id: str) -> list[Decision]:
        return [self.evaluate(question, request_id) for question in questions]

    def call(self, target: str = "/forms/7", method: str = "GET", identity: Identity = ALICE) -> str:
        """Returns what the access line says of the decision; raises what `Enforcer.check` raises."""
        anything: Any = None
        call = Call(
            request=ProxyRequest(method, target, [], None, "127.0.0.1", "http"),
            facts=HeadFacts(
                [],
                anything,
                anything,
                correlation_id="",
                traceparent="",
                forwarded_for="127.0.0.1",
                client_address="127.0.0.1",
                own_origin=None,
            ),
            request_id="id",
            traceparent="",
            is_preflight=False,
            own_origin=anything,
            received_at=0,
            started_at=0,
        )
        call.identity = identity
        parsed = parse_request_target(target)
        match = self.table.match(parsed.path)
        assert match is not None
        assert self.enforcer.check(call, match, parsed, None) is None
        return call.decision


def test_the_same_call_is_mapped_and_asked_for_once() -> None:
    world = World()
    assert [world.call() for _ in range(3)] == ["allow", "allow (remembered)", "allow (remembered)"]
    assert (world.mapper.mapped, len(world.asked)) == (1, 1)
    assert world.counted == ["allowed", "remembered", "remembered"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"target": "/forms/8"}, id="resource"),
        pytest.param({"target": "/forms/7?kind=b"}, id="query"),
        pytest.param({"target": "/forms/7?"}, id="empty-query"),
        pytest.param({"method": "POST"}, id="method"),
        pytest.param({"identity": change_identity(ALICE, session_reference="ref-2")}, id="session"),
        pytest.param({"identity": change_identity(ALICE, claims={"roles": ["admin"]}, claims_version=1)}, id="claims"),
        pytest.param({"identity": change_identity(ALICE, provider="other.example")}, id="provider"),
    ],
)
def test_whatever_a_question_follows_from_makes_another_call(other: dict[str, Any]) -> None:
    world = World()
    world.call()
    world.call(**other)
    assert world.mapper.mapped == 2


def test_nobody_is_let_in_by_what_another_may_do() -> None:
    world = World()
    bob = change_identity(ALICE, user_id="bob", subject="bob")
    assert world.call() == "allow"
    for _ in range(2):
        with pytest.raises(AccessDeniedError):
            world.call(identity=bob)
    assert world.call() == "allow (remembered)"
    assert [question["subject"]["id"] for question in world.asked] == ["alice", "bob"], "a refusal is remembered, too"


def test_a_decision_that_is_forgotten_is_asked_for_again() -> None:
    world = World(ttl_seconds=10)
    world.call()
    world.epoch = "2"
    assert world.call() == "allow"
    world.now += 11
    assert world.call() == "allow"
    assert len(world.asked) == 3


def test_what_depends_on_the_call_itself_is_always_built_anew() -> None:
    world = World(context=("client_address",))
    world.call()
    assert world.call() == "allow (remembered)"
    assert world.mapper.mapped == 2


def test_a_caller_without_a_session_leaves_nothing_behind() -> None:
    world = World()
    caller = change_identity(ALICE, session_reference="")
    world.call(identity=caller)
    world.call(identity=caller)
    assert world.mapper.mapped == 2


def test_a_long_target_is_not_kept() -> None:
    world = World()
    target = "/forms/" + "7" * LONGEST_KEPT_TARGET
    world.call(target)
    assert world.call(target) == "allow (remembered)"
    assert world.mapper.mapped == 2
