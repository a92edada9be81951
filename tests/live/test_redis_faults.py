"""Redis fails in every way it has, while sessions are in use; nobody is logged out who should not be, and it heals.

Held at the stores that every call goes through: what they raise is a 503 that leaves the cookie alone, what they do not
find is a 401.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.errors import StoreUnavailableError
from app.services.key_ring import load_or_create_key_ring
from app.services.session_store import NewSession, SessionStore
from app.services.state_store.redis_engine import RedisStateStore, open_redis_state_store
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.session_section import RedisSettings, SessionSettings
from tests.support.processes import free_port
from tests.support.redis_servers import (
    Cluster,
    RedisServer,
    SentinelTrio,
    running_cluster,
    running_redis,
    running_sentinels,
    wait_for,
)

pytestmark = pytest.mark.live

TIMEOUT_SECONDS, RETRIES = 0.3, 1
LONGEST_CALL_SECONDS = TIMEOUT_SECONDS * (RETRIES + 1)
LIFETIME_SECONDS = 600
LOGIN = NewSession("alice", "alice", "op.example.com", "https://op.example.com", {"roles": ["editor"]}, "sid")


@contextmanager
def opened(url: str) -> Iterator[RedisStateStore]:
    settings = RedisSettings(timeout_seconds=TIMEOUT_SECONDS, retries=RETRIES)
    store = open_redis_state_store(url, settings, time.time)
    try:
        store.start()
        yield store
    finally:
        store.close()


class World:
    """One worker's stores, without copies of their own: every call asks Redis."""

    def __init__(self, state: RedisStateStore, key_file: Path) -> None:
        settings = SessionSettings.model_validate({"local_cache_seconds": 0, "touch_interval_seconds": 0})
        self.state = state
        key_ring = load_or_create_key_ring(key_file)
        self.sessions = SessionStore(state, key_ring, settings=settings, clock=time.time)
        self.tokens = TokenStore(state, key_ring, clock=time.time)

    def log_in(self) -> str:
        session_id, _ = self.sessions.create(LOGIN)
        token = TokenSet(access_token=f"token-of-{session_id}", token_type="Bearer")
        assert self.tokens.save(self.sessions.session_key(session_id), token, LIFETIME_SECONDS)
        return session_id

    def call(self, session_id: str) -> str:
        """As a call with this cookie would: "good", "unavailable" (503), or "logged out" (401)."""
        try:
            record = self.sessions.find(session_id)
            if record is None:
                return "logged out"
            self.sessions.touch(session_id, record)
            tokens = self.tokens.find(self.sessions.session_key(session_id))
        except StoreUnavailableError:
            return "unavailable"
        if tokens is None:
            return "logged out"
        return "good" if tokens.access_token == f"token-of-{session_id}" else "somebody else's"


class Load:
    """Logged-in calls, one after the other, by several users at once."""

    def __init__(self, world: World, users: int = 6) -> None:
        self._world = world
        self._session_ids = [world.log_in() for _ in range(users)]
        self._stopping = threading.Event()
        self._outcomes: list[Counter[str]] = [Counter() for _ in range(users)]
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(users)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_each("good")
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def outcomes(self) -> Counter[str]:
        return sum(self._outcomes, Counter[str]())

    def wait_for_each(self, outcome: str) -> None:
        """Until every user has had it once more."""
        before = [counter[outcome] for counter in self._outcomes]
        wait_for(
            lambda: all(counter[outcome] > count for counter, count in zip(self._outcomes, before, strict=True)),
            f"every user's call to be {outcome}",
            timeout_seconds=60,
        )

    def wait_for_any(self, outcome: str) -> None:
        before = self.outcomes[outcome]
        wait_for(lambda: self.outcomes[outcome] > before, f"a call to be {outcome}")

    def _run(self, number: int) -> None:
        while not self._stopping.is_set():
            self._outcomes[number][self._world.call(self._session_ids[number])] += 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Keeps what it was told, also over a kill."""
    with running_redis(tmp_path, appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def world(server: RedisServer, tmp_path: Path) -> Iterator[World]:
    with opened(server.url) as state:
        yield World(state, tmp_path / "keys")


def time_call(call: Callable[[], object]) -> float:
    """How long it takes to say that the store is not available."""
    began_at = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        call()
    return time.monotonic() - began_at


def find_reason(state: RedisStateStore) -> str:
    with pytest.raises(StoreUnavailableError) as failure:
        state.put("probe:x", b"", 60)
    return failure.value.internal_reason


# One server


def test_a_killed_redis_logs_nobody_out(server: RedisServer, world: World) -> None:
    with Load(world) as load:
        server.kill()
        load.wait_for_each("unavailable")
        server.start()
        load.wait_for_each("good")
    assert set(load.outcomes) == {"good", "unavailable"}
    world.log_in()


def test_a_paused_redis_is_given_up_in_bounded_time_and_logs_nobody_out(server: RedisServer, world: World) -> None:
    with Load(world) as load:
        server.pause()
        load.wait_for_each("unavailable")
        took_seconds = time_call(world.state.check)
        assert TIMEOUT_SECONDS <= took_seconds < LONGEST_CALL_SECONDS * 2
        server.resume()
        load.wait_for_each("good")
    assert set(load.outcomes) == {"good", "unavailable"}


def test_no_reply_reaches_another_call_after_a_pause(server: RedisServer, world: World) -> None:
    keys = [f"login:{number}" for number in range(20)]
    for key in keys:
        world.state.put(key, key.encode(), LIFETIME_SECONDS)
    server.pause()
    time_call(lambda: world.state.find(keys[0]))
    server.resume()
    for _ in range(3):
        for key in keys:
            found = world.state.find(key)
            assert found is not None
            assert found.value == key.encode()


def test_a_redis_that_refuses_writes_serves_who_is_logged_in(server: RedisServer, world: World) -> None:
    with Load(world) as load:
        server.command("REPLICAOF", "127.0.0.1", free_port())
        server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
        assert find_reason(world.state).endswith("answered READONLY")
        load.wait_for_each("good")
        with pytest.raises(StoreUnavailableError):
            world.log_in()
        server.command("REPLICAOF", "NO", "ONE")
        load.wait_for_each("good")
        world.log_in()
    assert set(load.outcomes) == {"good"}


def test_a_full_redis_serves_who_is_logged_in_and_lets_them_log_out(server: RedisServer, world: World) -> None:
    leaving = world.log_in()
    with Load(world) as load:
        server.command("CONFIG", "SET", "maxmemory", 1)
        assert find_reason(world.state).endswith("answered OOM")
        load.wait_for_each("good")
        with pytest.raises(StoreUnavailableError):
            world.log_in()
        with pytest.raises(StoreUnavailableError):
            world.sessions.end(leaving)  # its tombstone could not be written
        assert world.call(leaving) == "logged out"
        server.command("CONFIG", "SET", "maxmemory", 0)
        assert world.sessions.retry_unfinished_ends() == 1
        world.log_in()
    assert set(load.outcomes) == {"good"}


def test_a_redis_that_is_loading_logs_nobody_out(server: RedisServer, world: World) -> None:
    with server.admin() as admin:
        admin.execute_command("CONFIG", "SET", "appendonly", "no")
        with admin.pipeline(transaction=False) as pipeline:
            for number in range(3000):
                pipeline.set(f"other:{number}", "x")
            pipeline.execute()
    session_id = world.log_in()
    server.command("SAVE")
    server.kill()
    slow = {"appendonly": "no", "key-load-delay": "500", "loading-process-events-interval-bytes": "1024"}
    server.options = {**server.options, **slow}
    reasons = set[str]()

    def is_loading() -> bool:
        try:
            world.state.check()
        except StoreUnavailableError as error:
            reasons.add(error.internal_reason)
            assert world.call(session_id) in ("unavailable", "good")
        return any(reason.endswith("answered LOADING") for reason in reasons)

    server.start(ready=is_loading)
    wait_for(lambda: world.call(session_id) == "good", "the session to be there again")


def test_a_redis_that_comes_back_empty_logs_everybody_out_and_the_log_says_why(tmp_path: Path) -> None:
    with (
        running_redis(tmp_path) as server,
        opened(server.url) as state,
        capture_logs() as lines,
    ):
        world = World(state, tmp_path / "keys")
        wait_for(lambda: server.command("KEYS", "*store:*"), "the name to be left")
        with Load(world) as load:
            server.kill()
            load.wait_for_each("unavailable")
            server.start()
            load.wait_for_each("logged out")
            wait_for(lambda: "store.came_back_empty" in {line["event"] for line in lines}, "the reason in the log")
        assert set(load.outcomes) == {"good", "unavailable", "logged out"}
        assert world.call(world.log_in()) == "good"


def test_a_worker_that_starts_before_redis_heals_by_itself(tmp_path: Path) -> None:
    with running_redis(tmp_path, appendonly="yes") as server:
        server.kill()
        with opened(server.url) as state:
            world = World(state, tmp_path / "keys")
            assert time_call(state.check) < LONGEST_CALL_SECONDS
            server.start()
            state.check()
            assert world.call(world.log_in()) == "good"
            assert state.listener.wait_until_hearing(30)


# Sentinels


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[SentinelTrio]:
    with running_sentinels(tmp_path) as trio:
        yield trio


def test_a_failover_loses_no_login(trio: SentinelTrio, tmp_path: Path) -> None:
    with opened(trio.url) as state:
        world = World(state, tmp_path / "keys")
        with Load(world) as load:
            trio.primary.kill()
            load.wait_for_any("unavailable")
            load.wait_for_each("good")
        assert trio.find_primary_port() == trio.replica.port
        assert set(load.outcomes) == {"good", "unavailable"}
        assert world.call(world.log_in()) == "good"


def test_a_planned_switch_of_roles_loses_no_login_and_the_listener_follows(trio: SentinelTrio, tmp_path: Path) -> None:
    with opened(trio.url) as state, opened(trio.url) as other:
        world = World(state, tmp_path / "keys")
        with Load(world) as load:
            trio.sentinels[0].command("SENTINEL", "FAILOVER", "sessions")
            wait_for(lambda: trio.find_primary_port() == trio.replica.port, "the roles to be switched")
            wait_for(lambda: count_writes(trio.replica) > 0, "calls to move to the new primary")
            load.wait_for_each("good")
        assert {"good"} <= set(load.outcomes) <= {"good", "unavailable"}
        wait_for(lambda: can_hear(other, state), "word of a change to arrive again")


def count_writes(server: RedisServer) -> int:
    """Made there by clients, and not by replication."""
    return int(server.read_section("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def can_hear(listening: RedisStateStore, speaking: RedisStateStore) -> bool:
    """Whether a copy in one worker goes when the other changes the record."""
    if not listening.listener.wait_until_hearing(30):
        return False
    speaking.put("session:heard", b"one", 60)
    found = listening.find("session:heard")
    assert found is not None
    position_before = listening.is_current("session:heard", found.mark)
    speaking.put("session:heard", b"two", 60)
    try:
        wait_for(lambda: not listening.is_current("session:heard", found.mark), "the change", timeout_seconds=1)
    except TimeoutError:
        return False
    return position_before


# Cluster


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path) as cluster:
        yield cluster


def test_a_killed_master_of_a_cluster_touches_nobody_elses_sessions(own_cluster: Cluster, tmp_path: Path) -> None:
    with opened(own_cluster.url) as state:
        world = World(state, tmp_path / "keys")
        session_ids = [world.log_in() for _ in range(30)]
        victim = own_cluster.masters[0]
        on_victim = {
            session_id
            for session_id in session_ids
            if own_cluster.find_master(f"{{{world.sessions.session_key(session_id)}}}") is victim
        }
        assert 0 < len(on_victim) < len(session_ids)
        victim.kill()
        for session_id in session_ids:
            expected = {"unavailable", "good"} if session_id in on_victim else {"good"}
            assert world.call(session_id) in expected
        wait_for(lambda: all(world.call(session_id) == "good" for session_id in on_victim), "the replica to take over")
        assert all(world.call(session_id) == "good" for session_id in session_ids)


def test_a_paused_master_of_a_cluster_logs_nobody_out(own_cluster: Cluster, tmp_path: Path) -> None:
    with opened(own_cluster.url) as state:
        world = World(state, tmp_path / "keys")
        with Load(world, users=12) as load:
            own_cluster.masters[1].pause()
            load.wait_for_any("unavailable")
            load.wait_for_each("good")
            own_cluster.masters[1].resume()
            wait_for(
                lambda: own_cluster.masters[1].read_section("replication")["role"] == "slave",
                "the old master to follow the new one",
            )
            load.wait_for_each("good")
        assert set(load.outcomes) == {"good", "unavailable"}
