"""Decisions are remembered for the scope they were asked in, asked once by many, and never confused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from app.core.errors import PdpUnavailableError
from app.core.permissions import Action, Question, QuestionResource, Subject, encode_question
from app.services.authorizer import Authorizer
from app.services.decision_cache import DecisionCache
from app.services.decision_epoch import DecisionEpoch
from app.services.pdp_answers import Decision
from app.services.state_store.directory import DirectoryStateStore

SCOPE = ("op", "alice", "session-1", "0")
OTHER_SCOPES = {
    "D4-another-login": ("op", "alice", "session-2", "0"),
    "D4-changed-claims": ("op", "alice", "session-1", "1"),
    "D4-another-provider": ("partner", "alice", "session-1", "0"),
}


def ask(
    resource_id: str = "42", *, roles: Sequence[str] = (), kind: object = "", method: str = "", context: str = ""
) -> Question:
    return Question(
        subject=Subject(type="user", id="alice", properties={"roles": list(roles)} if roles else {}),
        action=Action(name="read", properties={"method": method} if method else {}),
        resource=QuestionResource(type="form", id=resource_id, properties={"kind": kind} if kind != "" else {}),
        context={context: "2026-01-01T00:00:00Z"} if context else {},
    )


class Point:
    """A decision point that remembers what it was asked, in which batches."""

    def __init__(self) -> None:
        self.batches: list[list[Question]] = []
        self.decide: Callable[[Question], Decision] = lambda _: Decision(is_allowed=True)
        self.is_down = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def evaluate(self, question: bytes, request_id: str) -> Decision:
        return self.evaluate_all([question], request_id)[0]

    def evaluate_all(self, questions: Sequence[bytes], request_id: str) -> list[Decision]:
        asked = [msgspec.json.decode(question, type=Question) for question in questions]
        self.batches.append(asked)
        self.may_answer.wait(20)
        if self.is_down:
            raise PdpUnavailableError(internal_reason="down")
        return [self.decide(question) for question in asked]


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.point = Point()
        self.epoch = "1"
        self.counted: list[str] = []
        self.cache = DecisionCache(ttl_allow_seconds=30, ttl_deny_seconds=5, max_size=100, monotonic=lambda: self.now)
        self.authorizer = self.build()

    def build(self, *, has_cache: bool = True, max_batch: int = 50) -> Authorizer:
        return Authorizer(
            self.point,
            cache=self.cache if has_cache else None,
            get_epoch=lambda: self.epoch,
            max_batch=max_batch,
            count=self.counted.append,
            monotonic=lambda: self.now,
        )

    @property
    def count_asked(self) -> int:
        return sum(len(batch) for batch in self.point.batches)


@pytest.fixture
def world() -> World:
    return World()


def test_a_decision_is_remembered_for_its_lifetime(world: World) -> None:
    first = world.authorizer.decide(ask(), SCOPE, "id")
    second = world.authorizer.decide(ask(), SCOPE, "id")
    assert (first.is_remembered, second.is_remembered) == (False, True)
    assert first.decision == second.decision == Decision(is_allowed=True)
    world.now += 30
    assert not world.authorizer.decide(ask(), SCOPE, "id").is_remembered
    assert world.counted == ["allowed", "remembered", "allowed"]


def test_a_refusal_is_remembered_for_a_lifetime_of_its_own(world: World) -> None:
    world.point.decide = lambda _: Decision(is_allowed=False, reason="no")
    world.authorizer.decide(ask(), SCOPE, "id")
    assert world.authorizer.decide(ask(), SCOPE, "id").decision.reason == "no"
    world.now += 5
    assert not world.authorizer.decide(ask(), SCOPE, "id").is_remembered


@pytest.mark.parametrize("scope", OTHER_SCOPES.values(), ids=OTHER_SCOPES)
def test_a_decision_is_remembered_for_nobody_else(world: World, scope: tuple[str, ...]) -> None:
    world.authorizer.decide(ask(), SCOPE, "id")
    assert not world.authorizer.decide(ask(), scope, "id").is_remembered


def test_a_new_epoch_forgets_all_decisions(world: World) -> None:
    world.authorizer.decide(ask(), SCOPE, "id")
    world.epoch = "2"
    world.point.decide = lambda _: Decision(is_allowed=False)
    assert not world.authorizer.decide(ask(), SCOPE, "id").decision.is_allowed


def test_a_decision_that_was_under_way_when_the_epoch_changed_is_not_remembered_beyond_it(world: World) -> None:
    def decide_late(_: Question) -> Decision:
        world.epoch = "2"  # the policies change while the old ones decide
        return Decision(is_allowed=True)

    world.point.decide = decide_late
    world.authorizer.decide(ask(), SCOPE, "id")
    assert not world.authorizer.decide(ask(), SCOPE, "id").is_remembered


def test_d5_errors_are_not_remembered(world: World) -> None:
    world.point.is_down = True
    with pytest.raises(PdpUnavailableError):
        world.authorizer.decide(ask(), SCOPE, "id")
    world.point.is_down = False
    assert world.authorizer.decide(ask(), SCOPE, "id").decision.is_allowed
    world.point.decide = lambda _: Decision(is_allowed=False, is_lasting=False)
    world.authorizer.decide(ask("other"), SCOPE, "id")
    assert not world.authorizer.decide(ask("other"), SCOPE, "id").is_remembered


def test_a_question_that_holds_the_time_is_always_asked(world: World) -> None:
    for _ in range(3):
        assert not world.authorizer.decide(ask(context="time"), SCOPE, "id").is_remembered
    assert world.authorizer.decide_all([ask(context="time")], SCOPE, "id")[0].is_remembered is False
    assert (world.count_asked, len(world.cache)) == (4, 0)


def test_without_a_memory_every_question_is_asked(world: World) -> None:
    authorizer = world.build(has_cache=False)
    for _ in range(2):
        authorizer.decide(ask(), SCOPE, "id")
        authorizer.decide_all([ask()], SCOPE, "id")
    assert world.count_asked == 4


def test_d5_of_many_that_miss_at_once_one_asks(world: World) -> None:
    world.point.may_answer.clear()
    with ThreadPoolExecutor(60) as pool:
        callers = [pool.submit(world.authorizer.decide, ask(str(number % 3)), SCOPE, "id") for number in range(60)]
        world.point.may_answer.set()
        assert all(caller.result(20).decision.is_allowed for caller in callers)
    assert world.count_asked == 3


def test_a_failure_is_shared_by_those_who_waited_for_it(world: World) -> None:
    world.point.may_answer.clear()
    world.point.is_down = True
    with ThreadPoolExecutor(10) as pool:
        callers = [pool.submit(world.authorizer.decide, ask(), SCOPE, "id") for _ in range(10)]
        world.point.may_answer.set()
        assert all(isinstance(caller.exception(20), PdpUnavailableError) for caller in callers)


def test_the_memory_is_bounded(world: World) -> None:
    for number in range(1000):
        world.authorizer.decide(ask(str(number)), SCOPE, "id")
    assert len(world.cache) == 100


def test_several_questions_are_asked_at_once_and_answered_in_their_order(world: World) -> None:
    world.point.decide = lambda question: Decision(is_allowed=question.resource.id != "2")
    world.authorizer.decide(ask("1"), SCOPE, "id")
    decided = world.authorizer.decide_all([ask("2"), ask("1"), ask("3"), ask("2")], SCOPE, "id")
    assert [each.decision.is_allowed for each in decided] == [False, True, True, False]
    assert [each.is_remembered for each in decided] == [False, True, False, False]
    assert [[question.resource.id for question in batch] for batch in world.point.batches] == [["1"], ["2", "3"]]
    assert all(each.is_remembered for each in world.authorizer.decide_all([ask("2"), ask("3")], SCOPE, "id"))


def test_batches_are_no_larger_than_the_decision_point_takes(world: World) -> None:
    authorizer = world.build(max_batch=4)
    authorizer.decide_all([ask(str(number)) for number in range(10)], SCOPE, "id")
    assert [len(batch) for batch in world.point.batches] == [4, 4, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(ask("1", kind="a"), ask("1", kind="b"), id="resource"),
        pytest.param(ask("1", kind=True), ask("1", kind=1), id="resource-alike-to-python"),
        pytest.param(ask("1"), ask("1", kind="a"), id="resource-without"),
        pytest.param(ask("1", method="GET"), ask("2", method="PUT"), id="action"),
        pytest.param(ask("1", roles=["x"]), ask("2", roles=["y"]), id="subject"),
    ],
)
def test_questions_that_a_decision_point_may_confuse_never_share_a_batch(
    world: World, one: Question, other: Question
) -> None:
    world.authorizer.decide_all([one, other, ask("9")], SCOPE, "id")
    together = {frozenset(map(encode_question, batch)) for batch in world.point.batches}
    assert not any({encode_question(one), encode_question(other)} <= batch for batch in together)
    assert world.count_asked == 3


def test_so_many_questions_that_none_can_share_a_batch_have_a_limit_together(world: World) -> None:
    def decide_slowly(_: Question) -> Decision:
        world.now += 4
        return Decision(is_allowed=True)

    world.point.decide = decide_slowly
    with pytest.raises(PdpUnavailableError):
        world.authorizer.decide_all([ask("1", kind=str(number)) for number in range(50)], SCOPE, "id")
    assert len(world.point.batches) == 3


def test_workers_share_the_epoch(tmp_path: Path) -> None:
    def build() -> DecisionEpoch:
        return DecisionEpoch(
            DirectoryStateStore(tmp_path / "s", lambda: 1000.0), local_cache_seconds=60, clock=lambda: 1000.0
        )

    one, other = build(), build()
    first = one.get()
    assert first
    assert other.get() == first == one.get()
    one.advance()
    assert other.get() == one.get() != first
