"""Decisions in the store serve all workers, for their scope and their lifetime only, and only if we wrote them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.errors import PdpUnavailableError
from app.services.authorizer import Authorizer
from app.services.decision_cache import DecisionCache
from app.services.key_ring import KeyRing
from app.services.pdp_answers import Decision
from app.services.shared_decisions import SharedDecisions
from app.services.state_store import StateStore
from app.services.state_store.redis_engine import open_redis_state_store
from app.settings.schema.session_section import RedisSettings
from tests.support.redis_servers import RedisServer, running_redis
from tests.unit.services.test_authorizer import OTHER_SCOPES, SCOPE, Point, ask
from tests.unit.settings.config_folder import ConfigFolder

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ALLOW, DENY = Decision(is_allowed=True), Decision(is_allowed=False, reason="Nein. Ä", acr_values=("gold",))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


class World:
    """One Redis, and as many workers as a test asks for, on a clock that stands still."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self.state: StateStore = open_redis_state_store(redis.url, RedisSettings(timeout_seconds=0.5), time.time)
        self.now = 1_800_000_000.0
        self.point = Point()
        self.counted: list[str] = []

    def build(self, *keys: bytes, allow: float = 30, deny: float = 5) -> SharedDecisions:
        ring = KeyRing(list(keys or (OLD,)))
        return SharedDecisions(self.state, ring, ttl_allow_seconds=allow, ttl_deny_seconds=deny, clock=lambda: self.now)

    def build_worker(self, epoch: str = "1") -> Authorizer:
        cache = DecisionCache(ttl_allow_seconds=30, ttl_deny_seconds=5, max_size=100, monotonic=lambda: self.now)
        return Authorizer(
            self.point,
            cache=cache,
            shared=self.build(),
            get_epoch=lambda: epoch,
            max_batch=50,
            count=self.counted.append,
            monotonic=lambda: self.now,
        )

    def names(self) -> list[str]:
        found: list[bytes] = self.redis.command("KEYS", "*decision:*")
        return [name.decode().removeprefix("bff:").replace("{", "").replace("}", "") for name in found]

    def read(self, name: str) -> bytes:
        stored = self.state.find(name)
        assert stored is not None
        return stored.value

    def write(self, name: str, value: bytes) -> None:
        """As somebody would who can write to the store, and knows how records are framed there."""
        self.state.put(name, value, 3600)


@pytest.fixture
def world(redis: RedisServer) -> Iterator[World]:
    redis.command("FLUSHALL")
    world = World(redis)
    yield world
    world.state.close()


@pytest.mark.parametrize(("decision", "seconds"), [(ALLOW, 30), (DENY, 5)], ids=["allow", "deny"])
def test_what_one_worker_kept_another_finds_for_what_is_left_of_its_lifetime(
    world: World, decision: Decision, seconds: float
) -> None:
    world.build().keep(SCOPE, KEY, decision)
    world.now += 2
    found = world.build().find(SCOPE, KEY)
    assert found is not None
    assert (found.decision, found.seconds_left) == (decision, seconds - 2)
    world.now += seconds - 2
    assert world.build().find(SCOPE, KEY) is None


@pytest.mark.parametrize(
    "scope", [*OTHER_SCOPES.values(), ("op", "alice", "session-1"), ("op", "alice,session-1", "0")]
)
def test_d4_it_is_found_in_no_other_scope(world: World, scope: tuple[str, ...]) -> None:
    world.build().keep(SCOPE, KEY, ALLOW)
    assert world.build().find(scope, KEY) is None
    assert world.build().find(SCOPE, OTHER_KEY) is None


def test_d2_parts_of_a_scope_cannot_be_shifted_into_each_other(world: World) -> None:
    world.build().keep(("op", "a:b", "c"), KEY, ALLOW)
    for scope in [("op", "a", "b:c"), ("op:a", "b", "c"), ("op", 'a","b', "c"), ("op", "a", "b", "c")]:
        assert world.build().find(scope, KEY) is None


def test_what_somebody_else_wrote_is_not_believed(world: World) -> None:
    """Who can write to the store can make no permission of nothing, of a refusal, of another's, or of an old one."""
    shared = world.build()
    shared.keep(SCOPE, KEY, DENY)
    shared.keep(SCOPE, OTHER_KEY, ALLOW)
    names = {len(world.read(name)): name for name in world.names()}  # the refusal has a reason
    denied, allowed = names[max(names)], names[min(names)]
    permission = world.read(allowed)
    for forged in (permission, b"", b"x", bytes(200), permission[:-1], permission[:-1] + b"\x00", permission[32:]):
        world.write(denied, forged)
        assert shared.find(SCOPE, KEY) is None


def test_a_record_that_is_put_back_is_over_when_it_said(world: World) -> None:
    shared = world.build()
    shared.keep(SCOPE, KEY, ALLOW)
    [name] = world.names()
    kept = world.read(name)
    world.now += 30
    world.write(name, kept)
    assert shared.find(SCOPE, KEY) is None


def test_a_clock_that_is_behind_prolongs_nothing(world: World) -> None:
    world.build().keep(SCOPE, KEY, ALLOW)
    world.now -= 3600
    found = world.build().find(SCOPE, KEY)
    assert found is not None
    assert found.seconds_left == 30


def test_what_lies_in_the_store_is_gone_by_itself(world: World) -> None:
    world.build(deny=0.2).keep(SCOPE, KEY, DENY)
    [name] = world.names()
    assert 0 < world.redis.command("PTTL", f"bff:{name}".replace(":", ":{", 2).replace(":{", ":", 1) + "}") <= 200


def test_a_decision_that_is_none_to_last_is_not_shared(world: World) -> None:
    world.build().keep(SCOPE, KEY, Decision(is_allowed=False, is_lasting=False))
    world.build(allow=0).keep(SCOPE, KEY, ALLOW)
    assert world.names() == []


def test_a_new_key_opens_what_the_old_one_signed_until_that_is_dropped(world: World) -> None:
    world.build(OLD).keep(SCOPE, KEY, ALLOW)
    assert world.build(NEW, OLD).find(SCOPE, KEY) is not None
    assert world.build(NEW).find(SCOPE, KEY) is None


def test_nothing_in_the_store_names_anybody(world: World) -> None:
    world.build_worker().decide(ask("secret-form"), SCOPE, "id")
    [name] = world.names()
    stored = name.encode() + world.read(name)
    assert not [word for word in (b"alice", b"secret-form", b"session-1") if word in stored]


def test_of_all_workers_one_asks_and_each_remembers_for_itself_after_that(world: World) -> None:
    first, second = world.build_worker(), world.build_worker()
    assert not first.decide(ask(), SCOPE, "id").is_remembered
    assert [second.decide(ask(), SCOPE, "id").is_remembered for _ in range(2)] == [True, True]
    assert (sum(map(len, world.point.batches)), world.counted) == (1, ["allowed", "shared", "remembered"])
    world.now += 29
    assert second.decide(ask(), SCOPE, "id").is_remembered
    world.now += 1
    assert not second.decide(ask(), SCOPE, "id").is_remembered, "its copy lives no longer than what it was copied from"


def test_a_new_epoch_forgets_what_is_shared(world: World) -> None:
    world.build_worker().decide(ask(), SCOPE, "id")
    world.point.decide = lambda _: DENY
    assert not world.build_worker(epoch="2").decide(ask(), SCOPE, "id").decision.is_allowed


def test_d5_errors_are_not_shared(world: World) -> None:
    world.point.is_down = True
    with pytest.raises(PdpUnavailableError):
        world.build_worker().decide(ask(), SCOPE, "id")
    assert world.names() == []


def test_a_question_that_holds_the_time_is_not_shared(world: World) -> None:
    world.build_worker().decide(ask(context="time"), SCOPE, "id")
    assert world.names() == []


def test_o1_a_store_that_is_down_costs_a_question_and_nothing_else(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        world = World(server)
        worker = world.build_worker()
        server.kill()
        assert worker.decide(ask(), SCOPE, "id").decision.is_allowed
        assert sum(map(len, world.point.batches)) == 1
        world.state.close()


def test_decisions_are_shared_through_redis_only(folder: ConfigFolder) -> None:
    folder.pdp = {"cache": {"shared": True}}
    [fault] = folder.find_faults()
    assert (fault.file, fault.key) == ("pdp.yaml", "cache.shared")
    assert "session.store: redis" in fault.wanted


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    return ConfigFolder(tmp_path)
