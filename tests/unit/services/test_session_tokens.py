"""A user's tokens: refreshed once for all who wait, kept through every failure, and never another's (rows T8–T16, T22).

Workers are instances that share a store and a provider, as processes do; each refresh runs in a thread of its own.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from msgspec.structs import replace
from structlog.testing import capture_logs

from app.core.errors import BffError, ServiceTokenUnavailableError, SessionExpiredError, StoreUnavailableError
from app.core.routes import Service, ServiceToken, TokenMode
from app.services import unstored_tokens
from app.services.control_http import ControlHttp
from app.services.key_ring import KeyRing
from app.services.oidc_claims import ClaimSelection
from app.services.oidc_client import OidcClient
from app.services.refresh_failures import REFUSED_TARGET_SECONDS
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import NewSession, SessionStore
from app.services.session_store.keys import build_tombstone_name
from app.services.session_tokens import SessionTokens
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.file_lock import FOLDER_LOCK_NAME
from app.services.token_refresh import BACK_OFF_SECONDS
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import OidcSettings, SessionSettings
from tests.support.fake_idp import ISSUER, Answer, FakeIdp
from tests.support.processes import wait_until

AHEAD_SECONDS = 60
LIFETIME_SECONDS = 300


def build_service(mode: TokenMode = "user", name: str = "crud", audience: str = "", scope: str = "") -> Service:
    return Service(
        name=name,
        base_urls=("http://crud.example.com",),
        token=ServiceToken(mode=mode, audience=audience, scope=scope),
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
        total_timeout_seconds=0,
        retry=0,
        max_connections=1,
        breaker_failures=1,
        breaker_reset_seconds=1,
    )


USER = build_service()
CRUD = build_service("resource", audience="urn:crud", scope="crud:read")
LLM = build_service("resource", name="llm", audience="urn:llm")


class World:
    """Workers that share a store and a provider."""

    def __init__(self, directory: Path, idp: FakeIdp) -> None:
        self.idp = idp
        self.now = 1_700_000_000.0
        idp.clock = self.clock
        self.state = DirectoryStateStore(directory / "state", self.clock)
        self.key_ring = KeyRing([secrets.token_bytes(32)])
        self.sessions = SessionStore(self.state, self.key_ring, settings=SessionSettings(), clock=self.clock)
        self.tokens = TokenStore(self.state, self.key_ring, clock=self.clock)
        self.outcomes: list[str] = []
        self.ended_sessions: list[str] = []
        self.scheduled: list[tuple[str, float]] = []

    def clock(self) -> float:
        return self.now

    def start_worker(self, *, binds_user_tokens: bool = False) -> SessionTokens:
        settings = OidcSettings.model_validate(
            {
                "issuer": ISSUER,
                "client_id": "bff",
                "client_auth": "client_secret_post",
                "client_secret": "a-secret-of-some-length",
            }
        )
        oidc_client = OidcClient(settings, http=ControlHttp(timeout_seconds=10), clock=self.clock, allow_http=False)
        session_store = SessionStore(self.state, self.key_ring, settings=SessionSettings(), clock=self.clock)
        return SessionTokens(
            oidc_client=oidc_client,
            session_store=session_store,
            token_store=TokenStore(self.state, self.key_ring, clock=self.clock),
            state_store=self.state,
            refresh_ahead_seconds=AHEAD_SECONDS,
            idp_timeout_seconds=10,
            refreshed_claims=RefreshedClaims(
                oidc_client=oidc_client,
                session_store=session_store,
                selection=ClaimSelection(role_sources=("roles",), permission_sources=(), kept=()),
                asks_userinfo=False,
            ),
            count_refresh=self.outcomes.append,
            count_session_ended=self.ended_sessions.append,
            schedule=lambda key, due_at: self.scheduled.append((key, due_at)),
            clock=self.clock,
            binds_user_tokens=binds_user_tokens,
        )

    def log_in(self, subject: str = "alice", **changes: Any) -> str:
        """Makes a session whose tokens came just now; returns its key."""
        login = NewSession(user_id=subject, subject=subject, provider="test", issuer=ISSUER, claims={})
        session_id, _ = self.sessions.create(login)
        key = self.sessions.session_key(session_id)
        self.idp.refresh_token = f"first-refresh-of-{subject}"
        tokens = TokenSet(
            access_token=f"first-of-{subject}",
            token_type="Bearer",
            expires_at=self.now + LIFETIME_SECONDS,
            refresh_token=self.idp.refresh_token,
            id_token="first-id-token",
            obtained_at=self.now,
        )
        assert self.tokens.save(key, replace(tokens, **changes), 3600)
        return key

    def refreshes(self) -> list[dict[str, str]]:
        return [form for form in self.idp.forms if form["grant_type"] == "refresh_token"]

    def stored(self, key: str) -> TokenSet:
        tokens = self.tokens.find(key)
        assert tokens is not None
        return tokens


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeIdp().serve() as idp:
        yield World(tmp_path, idp)
        idp.may_answer.set()


# When a token is refreshed


def test_a_fresh_token_is_handed_out_without_asking_anybody(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS - AHEAD_SECONDS - 1
    assert world.start_worker().get(USER, key) == "first-of-alice"
    assert world.idp.forms == []


def test_a_token_that_is_over_is_refreshed_before_the_call(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    worker = world.start_worker()
    assert worker.get(USER, key) == "token-1"
    assert worker.get(USER, key) == "token-1"
    assert [form["refresh_token"] for form in world.refreshes()] == ["first-refresh-of-alice"]
    assert world.outcomes == ["completed"]


def test_a_token_that_is_nearly_over_serves_while_it_is_being_refreshed(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS - AHEAD_SECONDS + 1
    world.idp.may_answer.clear()
    worker = world.start_worker()
    assert worker.get(USER, key) == "first-of-alice"
    assert worker.get(USER, key) == "first-of-alice"
    world.idp.may_answer.set()
    wait_until_stored(world, key, "token-1")
    assert worker.get(USER, key) == "token-1"
    assert len(world.refreshes()) == 1


def wait_until_stored(world: World, key: str, access_token: str) -> None:
    """A refresh that nobody waits for has ended once the lock can be had and the record is new."""
    event = threading.Event()
    for _ in range(2000):
        if world.stored(key).access_token == access_token:
            return
        event.wait(0.005)
    raise AssertionError("the refresh did not end")


def test_a_token_that_lives_shorter_than_we_refresh_ahead_is_not_refreshed_on_every_call(world: World) -> None:
    key = world.log_in(expires_at=1_700_000_000.0 + 30)
    world.now += 10
    assert world.start_worker().get(USER, key) == "first-of-alice"
    assert world.refreshes() == []


def test_without_a_refresh_token_the_token_serves_to_its_end_and_then_the_session_is_over(world: World) -> None:
    key = world.log_in(refresh_token=None)
    world.now += LIFETIME_SECONDS - 1
    worker = world.start_worker()
    assert worker.get(USER, key) == "first-of-alice"
    world.now += 1
    with pytest.raises(SessionExpiredError):
        worker.get(USER, key)
    assert world.idp.forms == []


def test_a_session_without_tokens_is_over(world: World) -> None:
    with pytest.raises(SessionExpiredError):
        world.start_worker().get(USER, "b" * 64)


# One at a time


def test_t8_many_calls_on_many_workers_make_one_refresh(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.may_answer.clear()
    workers = [world.start_worker() for _ in range(4)]
    with ThreadPoolExecutor(40) as pool:
        calls = [pool.submit(workers[number % 4].get, USER, key) for number in range(40)]
        world.idp.may_answer.set()
        assert {call.result(30) for call in calls} == {"token-1"}
    assert len(world.refreshes()) == 1


def test_audiences_of_one_session_are_asked_for_one_after_the_other(world: World) -> None:
    key = world.log_in()
    workers = [world.start_worker() for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(workers[number % 3].get, (CRUD, LLM)[number % 2], key) for number in range(12)]
        results = [call.result(30) for call in calls]
    assert len(set(results[0::2])) == len(set(results[1::2])) == 1
    assert set(results[0::2]) != set(results[1::2])
    # Each refresh spent the token that the one before it had made: the provider would have ended the grant otherwise.
    assert len(world.refreshes()) == 2
    assert world.refreshes()[1]["refresh_token"] == "refresh-1"


def test_t9_a_caller_that_goes_away_does_not_stop_the_refresh(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS - 10  # still usable, so the call returns at once
    world.idp.may_answer.clear()
    assert world.start_worker().get(USER, key) == "first-of-alice"
    world.idp.may_answer.set()
    wait_until_stored(world, key, "token-1")
    assert world.stored(key).refresh_token == "refresh-1"


def test_t15_sessions_refresh_at_once_and_each_gets_its_own(world: World) -> None:
    """Duende CVE-2024-51987. Nobody is answered before all have asked, and then the first to ask is answered last."""
    users = ("alice", "bob", "carol", "dave")
    keys = {user: world.log_in(user) for user in users}
    world.now += LIFETIME_SECONDS
    asked, order = list[str](), threading.Condition()

    def answer_in_turn(request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        user = dict(parse_qsl(request.body.decode()))["refresh_token"].removeprefix("first-refresh-of-")
        with order:
            asked.append(user)
            order.notify_all()
            assert order.wait_for(lambda: len(asked) >= len(users) and asked[-1] == user, 20)
            asked.insert(0, asked.pop())
            order.notify_all()
        tokens = {"access_token": f"second-of-{user}", "refresh_token": f"second-refresh-of-{user}"}
        return 200, {}, json.dumps({"token_type": "Bearer", "expires_in": LIFETIME_SECONDS, **tokens})

    world.idp._give_token = answer_in_turn  # type: ignore[method-assign]
    workers = [world.start_worker() for _ in range(2)]
    with world.idp.serve(), ThreadPoolExecutor(16) as pool:
        calls = [(user, pool.submit(workers[turn % 2].get, USER, keys[user])) for turn in range(4) for user in users]
        assert [call.result(30) for _, call in calls] == [f"second-of-{user}" for user, _ in calls]
    for user, key in keys.items():
        stored = world.stored(key)
        assert (stored.access_token, stored.refresh_token) == (f"second-of-{user}", f"second-refresh-of-{user}")
    assert len(asked) == len(users), "each was refreshed once"


# What is kept


def test_t16_what_a_refresh_leaves_out_stays_as_it_was(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.token_changes = {"refresh_token": None, "expires_in": None}
    world.start_worker().get(USER, key)
    stored = world.stored(key)
    assert (stored.refresh_token, stored.id_token) == ("first-refresh-of-alice", "first-id-token")
    assert stored.expires_at is not None
    assert stored.expires_at > world.now


def test_a_rotated_refresh_token_and_a_new_id_token_are_kept(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    id_token = world.idp.sign_id_token(sub="alice")
    world.idp.token_changes = {"id_token": id_token}
    world.start_worker().get(USER, key)
    assert (world.stored(key).refresh_token, world.stored(key).id_token) == ("refresh-1", id_token)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "mallory"}, id="T16-another-sub"),
        pytest.param({"sub": "alice", "iss": "https://evil.example"}, id="T16-another-iss"),
        pytest.param({"sub": "alice", "aud": "somebody-else"}, id="another-aud"),
        pytest.param({"sub": "mallory", "exp": 1}, id="T16-another-sub-and-expired"),
    ],
)
def test_t16_an_id_token_that_speaks_of_somebody_else_is_refused_and_nothing_is_kept(
    world: World, claims: dict[str, Any]
) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.token_changes = {"id_token": world.idp.sign_id_token(**claims)}
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(USER, key)
    assert world.stored(key).access_token == "first-of-alice"
    assert world.outcomes == ["refused"]
    assert world.sessions.find_by_key(key) is not None


@pytest.mark.parametrize("ahead_seconds", [-600, -20, 20, 600])
def test_o8_a_provider_whose_clock_is_off_gives_tokens_for_as_long_as_it_says(world: World, ahead_seconds: int) -> None:
    """`expires_in` is a length of time (RFC 6749 §5.1)."""
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.clock = lambda: world.now + ahead_seconds
    if abs(ahead_seconds) < 30:
        world.idp.token_changes = {"id_token": world.idp.sign_id_token(sub="alice")}
    world.start_worker().get(USER, key)
    assert world.stored(key).expires_at == world.now + LIFETIME_SECONDS


@pytest.mark.parametrize("ahead_seconds", [-600, 600])
def test_o8_an_id_token_from_another_time_is_dropped_and_the_tokens_that_came_with_it_are_kept(
    world: World, ahead_seconds: int
) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.clock = lambda: world.now + ahead_seconds
    world.idp.token_changes = {"id_token": world.idp.sign_id_token(sub="alice")}
    first = world.start_worker().get(USER, key)
    assert first == world.stored(key).access_token == "token-1"
    assert world.stored(key).id_token == "first-id-token"
    world.now += LIFETIME_SECONDS
    assert world.start_worker().get(USER, key) == "token-2"


def test_the_next_renewal_is_planned_ahead_of_the_new_expiry(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.start_worker().get(USER, key)
    assert world.scheduled == [(key, world.now + LIFETIME_SECONDS - AHEAD_SECONDS)]


# Failures


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param((500, {}), id="T11-500"),
        pytest.param((503, {"error": "invalid_grant"}), id="T11-503-with-a-code"),
        pytest.param((429, {}), id="T11-429"),
        pytest.param((200, {"nonsense": True}), id="T11-no-token"),
        pytest.param((400, {"error": ["invalid_grant"]}), id="T11-malformed-code"),
        pytest.param((400, {}), id="T11-no-code"),
        pytest.param((401, {"error": "invalid_client"}), id="T13-invalid-client"),
        pytest.param((400, {"error": "unauthorized_client"}), id="T13-unauthorized-client"),
    ],
)
def test_a_provider_that_fails_logs_nobody_out(world: World, failure: tuple[int, dict[str, Any]]) -> None:
    key = world.log_in()
    worker = world.start_worker()
    world.idp.failure = failure
    world.now += LIFETIME_SECONDS - 1
    assert worker.get(USER, key) == "first-of-alice", "a token that is still valid is used"
    world.now += 1 + BACK_OFF_SECONDS
    with pytest.raises(ServiceTokenUnavailableError):
        worker.get(USER, key)
    assert world.sessions.find_by_key(key) is not None
    world.idp.failure = None
    world.now += BACK_OFF_SECONDS + 1
    assert str(worker.get(USER, key)).startswith("token-")


def test_after_a_failure_the_provider_is_left_alone_for_a_moment(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker()
    world.idp.failure = (500, {})
    world.now += LIFETIME_SECONDS
    for _ in range(5):
        with pytest.raises(ServiceTokenUnavailableError):
            worker.get(USER, key)
    assert len(world.idp.forms) == 1


def test_t12_a_grant_that_is_over_ends_the_session_once_and_for_all_waiters(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.refresh_token = None
    world.idp.may_answer.clear()
    workers = [world.start_worker() for _ in range(3)]

    def call(number: int) -> str:
        try:
            return str(workers[number % 3].get(USER, key))
        except BffError as error:
            return error.code

    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(call, number) for number in range(12)]
        world.idp.may_answer.set()
        assert {result.result(30) for result in calls} == {"session_expired"}
    assert len(world.refreshes()) == 1
    assert world.outcomes == ["ended"]
    assert world.ended_sessions == ["refresh_refused"]
    assert world.sessions.find_by_key(key) is None
    assert world.tokens.find(key) is None


def test_an_invalid_grant_for_a_token_that_is_no_longer_stored_ends_nothing(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    worker = world.start_worker()
    stored = world.tokens.find_stored(key)
    assert stored is not None

    def rotate_meanwhile(*_: object) -> tuple[int, dict[str, str], str]:
        newer = replace(stored.tokens, access_token="newer", refresh_token="newer", expires_at=world.now + 300)
        assert world.tokens.save(key, newer, 3600)
        return 400, {}, json.dumps({"error": "invalid_grant"})

    world.idp._give_token = rotate_meanwhile  # type: ignore[method-assign, assignment]
    with world.idp.serve():
        assert worker.get(USER, key) == "newer"
    assert world.sessions.find_by_key(key) is not None


@pytest.mark.parametrize("has_successor", [False, True])
def test_a_session_that_ends_during_the_refresh_stays_ended_and_the_new_tokens_are_revoked(
    world: World, has_successor: bool
) -> None:
    """Unless another login took its place: at many providers both share one grant, and revoking ends it for both."""
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    answer = world.idp._give_token

    def end_meanwhile(request: Any) -> tuple[int, dict[str, str], str]:
        world.sessions.end_by_key(key, has_successor=has_successor)
        return answer(request)

    world.idp._give_token = end_meanwhile  # type: ignore[method-assign]
    with world.idp.serve(), pytest.raises(SessionExpiredError):
        world.start_worker().get(USER, key)
    assert world.tokens.find(key) is None
    assert world.idp.revoked == ([] if has_successor else ["refresh-1"])


def test_a_session_whose_lock_is_never_free_is_refused_and_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    worker = world.start_worker()
    monkeypatch.setattr(worker._refresh, "_lease_seconds", 0.05)
    with world.state.lock(f"refresh-{key}", 1) as hold:
        assert hold
        with pytest.raises(ServiceTokenUnavailableError):
            worker.get(USER, key)
    assert world.idp.forms == []
    assert world.sessions.find_by_key(key) is not None
    assert worker.get(USER, key) == "token-1"


def test_a_grant_is_not_revoked_because_the_store_has_lost_its_session_during_the_refresh(world: World) -> None:
    """As when an empty server takes a failed one's place for a moment: the session may be there again."""
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    answer = world.idp._give_token

    def lose_it_meanwhile(request: Any) -> tuple[int, dict[str, str], str]:
        world.tokens.delete(key)
        return answer(request)

    world.idp._give_token = lose_it_meanwhile  # type: ignore[method-assign]
    with world.idp.serve(), pytest.raises(SessionExpiredError):
        world.start_worker().get(USER, key)
    assert world.idp.revoked == []


def test_a_refresh_that_takes_too_long_is_not_waited_for_and_still_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.may_answer.clear()
    worker = world.start_worker()
    monkeypatch.setattr(worker._refresh, "_lease_seconds", 0.05)
    with pytest.raises(ServiceTokenUnavailableError):
        worker.get(USER, key)
    world.idp.may_answer.set()
    wait_until_stored(world, key, "token-1")


def test_an_answer_to_a_refresh_that_lost_its_turn_overwrites_nothing(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    answer = world.idp._give_token
    newer = replace(world.stored(key), access_token="newer", refresh_token="newer-refresh", expires_at=world.now + 300)

    def be_overtaken(request: Any) -> tuple[int, dict[str, str], str]:
        assert world.tokens.save(key, newer, 3600)
        return answer(request)

    world.idp._give_token = be_overtaken  # type: ignore[method-assign]
    with world.idp.serve(), pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(USER, key)
    assert world.stored(key) == newer


# The store fails


def find_file(world: World, record: str) -> Path:
    return world.state._files._locate(record)


def refuse_writes_once_the_provider_answers(world: World, key: str) -> Path:
    """The session's tokens can be read then, and not replaced; until the folder that is returned is removed."""
    in_the_way = find_file(world, f"tokens:{key}").with_name(FOLDER_LOCK_NAME)
    answer = world.idp._give_token

    def answer_without_store(request: Any) -> tuple[int, dict[str, str], str]:
        in_the_way.unlink(missing_ok=True)
        in_the_way.mkdir()
        return answer(request)

    world.idp._give_token = answer_without_store  # type: ignore[method-assign]
    return in_the_way


def test_a_rotated_token_that_could_not_be_stored_is_stored_once_it_can_be(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    in_the_way = refuse_writes_once_the_provider_answers(world, key)
    worker, other_worker = world.start_worker(), world.start_worker()
    with world.idp.serve(), ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # nobody waits for a store that is away
            with pytest.raises(StoreUnavailableError):
                worker.get(USER, key)
        waiting = pool.submit(other_worker.get, USER, key)
        in_the_way.rmdir()
        assert waiting.result(30) == "token-1", "it waits for its turn, and finds what was stored at last"
    assert world.stored(key).refresh_token == "refresh-1"
    assert len(world.refreshes()) == 1


def test_a_session_that_ended_before_its_tokens_could_be_stored_stays_ended(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    in_the_way = refuse_writes_once_the_provider_answers(world, key)
    with world.idp.serve():
        world.state.put(build_tombstone_name(key), b"", 600)  # the end begins with it, and then removes the records
        with pytest.raises(StoreUnavailableError):
            world.start_worker().get(USER, key)
        find_file(world, f"tokens:{key}").unlink()
        in_the_way.rmdir()
        wait_until(lambda: bool(world.idp.revoked), timeout_seconds=10, what="the new token to be revoked")
    assert world.idp.revoked == ["refresh-1"]
    assert world.tokens.find(key) is None


def test_tokens_that_wait_for_the_store_are_given_up_when_their_session_is_over(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    refuse_writes_once_the_provider_answers(world, key)
    with world.idp.serve(), capture_logs() as lines:
        with pytest.raises(StoreUnavailableError):
            world.start_worker().get(USER, key)
        world.now += SessionSettings().absolute_timeout_seconds
        wait_until(
            lambda: "refresh.tokens_lost" in {line["event"] for line in lines}, timeout_seconds=10, what="the end"
        )
    with world.state.lock(f"refresh-{key}", 10) as hold:
        assert hold


def test_no_more_tokens_wait_for_the_store_than_there_is_room_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored_tokens, "MOST_KEPT", 0)
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    refuse_writes_once_the_provider_answers(world, key)
    with world.idp.serve(), capture_logs() as lines, pytest.raises(StoreUnavailableError):
        world.start_worker().get(USER, key)
    assert "refresh.tokens_lost" in {line["event"] for line in lines}
    with world.state.lock(f"refresh-{key}", 10) as hold:
        assert hold


def test_a_refresh_whose_answer_could_not_be_kept_is_not_asked_for(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    find_file(world, f"probe:{key}").mkdir()  # the records of the session can still be read
    with pytest.raises(StoreUnavailableError):
        world.start_worker().get(USER, key)
    assert world.idp.forms == []


# Tokens for single services


def test_a_service_gets_the_token_for_its_audience_and_scope(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker()
    assert worker.get(CRUD, key) == "token-1"
    assert worker.get(CRUD, key) == "token-1"
    assert world.refreshes()[0]["resource"] == "urn:crud"
    assert world.refreshes()[0]["scope"] == "crud:read"
    assert world.stored(key).access_token == "first-of-alice", "the user's own token is another"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(build_service("resource", name="other", audience="urn:crud", scope="crud:read"), id="service"),
        pytest.param(build_service("resource", audience="urn:crud2", scope="crud:read"), id="audience"),
        pytest.param(build_service("resource", audience="urn:crud", scope="crud:write"), id="scope"),
        pytest.param(build_service("exchange", audience="urn:crud", scope="crud:read"), id="mode"),
        pytest.param(build_service("user"), id="user"),
    ],
)
def test_t22_a_token_is_never_used_for_anything_it_was_not_made_for(world: World, other: Service) -> None:
    key = world.log_in()
    worker = world.start_worker()
    assert worker.get(CRUD, key) != worker.get(other, key)


def test_an_exchange_trades_the_users_own_token(world: World) -> None:
    key = world.log_in()
    service = build_service("exchange", audience="urn:crud", scope="crud:read")
    worker = world.start_worker()
    assert worker.get(service, key) == worker.get(service, key) == "token-1"
    [form] = world.idp.forms
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert form["subject_token"] == "first-of-alice"
    assert (form["resource"], form["scope"]) == ("urn:crud", "crud:read")


def test_an_exchange_refreshes_the_users_token_first_when_that_is_over(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    service = build_service("exchange", audience="urn:crud")
    assert world.start_worker().get(service, key) == "token-2"
    assert world.idp.forms[1]["subject_token"] == "token-1"
    assert world.stored(key).access_token == "token-1"


def test_an_invalid_grant_at_an_exchange_is_503_and_ends_nothing(world: World) -> None:
    key = world.log_in()
    world.idp.failure = (400, {"error": "invalid_grant"})
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(build_service("exchange", audience="urn:crud"), key)
    assert world.sessions.find_by_key(key) is not None


def test_an_audience_that_was_refused_is_left_alone_and_the_others_go_on(world: World) -> None:
    key = world.log_in()
    world.idp.refused_audiences = frozenset({"urn:llm"})
    worker, another = world.start_worker(), world.start_worker()
    for asking in (worker, another, worker, another):
        with pytest.raises(ServiceTokenUnavailableError):
            asking.get(LLM, key)
    assert len(world.refreshes()) == 1  # whoever asks again could use a refresh token that is spent
    assert worker.get(USER, key) == "first-of-alice"
    world.idp.refused_audiences = frozenset()
    world.idp.refresh_token = "first-refresh-of-alice"
    world.now += REFUSED_TARGET_SECONDS + 1
    assert str(worker.get(LLM, key)).startswith("token-")


def test_without_a_refresh_token_there_is_no_token_for_an_audience(world: World) -> None:
    key = world.log_in(refresh_token=None)
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(CRUD, key)


# In the background


def test_what_is_due_is_renewed_and_the_next_time_told(world: World) -> None:
    key = world.log_in()
    worker = world.start_worker()
    assert worker.renew_due(key) == world.now + LIFETIME_SECONDS - AHEAD_SECONDS
    assert world.refreshes() == []
    world.now += LIFETIME_SECONDS - AHEAD_SECONDS + 1
    assert worker.renew_due(key) == world.now + LIFETIME_SECONDS - AHEAD_SECONDS
    assert world.stored(key).access_token == "token-1"


def test_there_is_nothing_to_renew_without_tokens_or_once_the_grant_is_over(world: World) -> None:
    worker = world.start_worker()
    assert worker.renew_due("b" * 64) is None
    assert worker.renew_due(world.log_in(refresh_token=None)) is None
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.refresh_token = None
    assert worker.renew_due(key) is None
    assert world.sessions.find_by_key(key) is None


def test_a_renewal_that_fails_says_so(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.failure = (500, {})
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().renew_due(key)


def test_a_new_login_is_planned(world: World) -> None:
    key = world.log_in()
    world.start_worker().note_renewal(key, world.stored(key))
    assert world.scheduled == [(key, world.now + LIFETIME_SECONDS - AHEAD_SECONDS)]
    world.start_worker().note_renewal(key, replace(world.stored(key), refresh_token=None))
    assert len(world.scheduled) == 1
