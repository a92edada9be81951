"""Sessions, tokens, refreshes, logouts and clock steps in any order: what must hold whatever happens, on both engines.

- A token is of the session's user, and for the service that asked (T15, T22).
- A refresh token is spent once: the provider here ends the grant and remembers when one comes a second time.
- A token that falls due is renewed once, however many callers, workers and looks of the background find it due.
- What has ended stays ended: no record comes back through a call that finishes late.
- A provider that fails ends nothing; and only while it fails, or a moment after, is a live session kept waiting.
- A session's roles are its own user's, and those that the provider named last (L27).
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl

import pytest
import requests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app.core.errors import BffError
from app.core.routes import Service, ServiceToken, TokenMode
from app.services.key_ring import KeyRing
from app.services.oidc_claims import ClaimSelection
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import NewSession, SessionStore
from app.services.session_tokens import SessionTokens
from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_refresh import BACK_OFF_SECONDS
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import SessionSettings
from tests.support.fake_idp import ISSUER, Answer, FakeIdp
from tests.support.redis_servers import RedisServer, build_place
from tests.unit.services.oidc_worker import build_oidc_client
from tests.unit.services.state_store.engines import open_redis

LIFETIME_SECONDS, AHEAD_SECONDS = 300, 60
CALLERS = 4


def build_service(mode: TokenMode, name: str, audience: str = "") -> Service:
    return Service(
        name=name,
        base_urls=("http://backend.example.com",),
        token=ServiceToken(mode=mode, audience=audience),
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
        total_timeout_seconds=0,
        retry=0,
        max_connections=1,
        breaker_failures=1,
        breaker_reset_seconds=1,
    )


SERVICES = (
    build_service("user", "profile"),
    build_service("resource", "crud", "urn:crud"),
    build_service("resource", "llm", "urn:llm"),
    build_service("exchange", "legacy", "urn:legacy"),
)


class RememberingIdp(FakeIdp):
    """Rotates refresh tokens, knows whose each is, and what each access token is for."""

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[str, str] = {}
        self.grants: dict[str, str] = {}
        """By refresh token, the first one of its grant."""
        self.roles: dict[str, list[str]] = {}
        """What was said last of each grant's user."""
        self.spent: set[str] = set()
        self.reused = 0
        self.renewed_at: dict[tuple[str, str], float] = {}
        """By grant and resource."""
        self.needless = 0
        """Renewals of what was not due yet."""
        self.is_failing = False
        self.failed_at = float("-inf")

    def begin_grant(self, user: str, grant: str = "") -> str:
        token = secrets.token_hex(8)
        self.users[token] = user
        self.grants[token] = grant or token
        return token

    def _give_token(self, request: requests.PreparedRequest) -> Answer:
        assert isinstance(request.body, bytes)
        form = dict(parse_qsl(request.body.decode()))
        if self.is_failing:
            self.failed_at = self.clock()
            return 503, {}, "{}"
        document: dict[str, object] = {"token_type": "Bearer", "expires_in": LIFETIME_SECONDS}
        if form["grant_type"] == "refresh_token":
            spent = form["refresh_token"]
            self.reused += spent in self.spent
            user = self.users.pop(spent, None)
            if user is None:
                return 400, {}, json.dumps({"error": "invalid_grant"})
            self.spent.add(spent)
            grant = self.grants[spent]
            renewed = (grant, form.get("resource", ""))
            self.needless += (
                self.clock() - self.renewed_at.get(renewed, float("-inf")) < LIFETIME_SECONDS - AHEAD_SECONDS
            )
            self.renewed_at[renewed] = self.clock()
            document["refresh_token"] = self.begin_grant(user, grant)
            self.roles[grant] = [user, secrets.token_hex(4)]
            document["id_token"] = self.sign_id_token(sub=user, roles=self.roles[grant])
        else:
            user = form["subject_token"].partition("|")[0]
        document["access_token"] = f"{user}|{form.get('resource', '')}|{secrets.token_hex(4)}"
        return 200, {}, json.dumps(document)


@dataclass
class Known:
    """What the model knows of one session."""

    key: str
    session_id: str
    user: str
    grant: str
    has_ended: bool = False


class TokenMachine(RuleBasedStateMachine):
    """Two workers on one store; `place` of a Redis, or empty for a directory."""

    place: ClassVar[str] = ""
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.parts = ExitStack()
        self.now = 1_800_000_000.0
        self.idp = self.parts.enter_context(RememberingIdp().serve())
        self.idp.clock = self.clock
        self.state = self.open_state()
        self.key_ring = KeyRing([secrets.token_bytes(32)])
        self.session_settings = SessionSettings(idle_timeout_seconds=100_000, absolute_timeout_seconds=1_000_000)
        self.store = SessionStore(self.state, self.key_ring, settings=self.session_settings, clock=self.clock)
        self.tokens = TokenStore(self.state, self.key_ring, clock=self.clock)
        self.known: list[Known] = []
        self.start_workers()

    def clock(self) -> float:
        return self.now

    def open_state(self) -> StateStore:
        if self.place:
            store = open_redis(self.place, self.clock)
            self.parts.callback(store.close)
            return store
        folder = self.parts.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        return DirectoryStateStore(Path(folder) / "state", self.clock)

    def start_worker(self) -> SessionTokens:
        oidc_client = build_oidc_client(self.clock)
        session_store = SessionStore(self.state, self.key_ring, settings=self.session_settings, clock=self.clock)
        return SessionTokens(
            oidc_client=oidc_client,
            session_store=session_store,
            token_store=TokenStore(self.state, self.key_ring, clock=self.clock, local_cache_seconds=2),
            state_store=self.state,
            refresh_ahead_seconds=AHEAD_SECONDS,
            idp_timeout_seconds=10,
            refreshed_claims=RefreshedClaims(
                oidc_client=oidc_client,
                session_store=session_store,
                selection=ClaimSelection(role_sources=("roles",), permission_sources=(), kept=()),
                asks_userinfo=False,
            ),
            count_refresh=lambda _outcome: None,
            count_session_ended=lambda _reason: None,
            clock=self.clock,
        )

    @rule()
    def start_workers(self) -> None:
        """Also: the workers are restarted."""
        self.workers = [self.start_worker() for _ in range(2)]

    @rule(target=sessions, user=st.sampled_from(["alice", "bob"]))
    def log_in(self, user: str) -> Known:
        session_id, _ = self.store.create(
            NewSession(user_id=user, subject=user, provider="test", issuer=ISSUER, claims={})
        )
        known = Known(self.store.session_key(session_id), session_id, user, self.idp.begin_grant(user))
        self.idp.renewed_at[known.grant, ""] = self.now
        tokens = TokenSet(
            access_token=f"{user}||first",
            token_type="Bearer",
            expires_at=self.now + LIFETIME_SECONDS,
            refresh_token=known.grant,
            obtained_at=self.now,
        )
        assert self.tokens.save(known.key, tokens, 100_000)
        self.known.append(known)
        return known

    @rule(session=sessions, service=st.sampled_from(SERVICES), worker=st.integers(0, 1))
    def call(self, session: Known, service: Service, worker: int) -> None:
        self.judge(session, service, self.ask(session, service, worker))

    @rule(session=sessions, service=st.sampled_from(SERVICES))
    def call_from_many(self, session: Known, service: Service) -> None:
        with ThreadPoolExecutor(CALLERS) as pool:
            asked = [pool.submit(self.ask, session, service, number % 2) for number in range(CALLERS)]
            for result in asked:
                self.judge(session, service, result.result(60))

    @rule(one=sessions, other=sessions, service=st.sampled_from(SERVICES))
    def call_for_two_sessions_at_once(self, one: Known, other: Known, service: Service) -> None:
        with ThreadPoolExecutor(CALLERS) as pool:
            asked = [(each, pool.submit(self.ask, each, service, 0)) for each in (one, other) * (CALLERS // 2)]
            for session, result in asked:
                self.judge(session, service, result.result(60))

    @rule(session=sessions)
    def look_in_the_background_from_both_workers(self, session: Known) -> None:
        """As if both had claimed it: the agenda gives it to one, but nothing rests on that."""
        with ThreadPoolExecutor(2) as pool:
            looks = [pool.submit(self.renew_in_the_background, session, worker) for worker in range(2)]
            assert {look.result(60) for look in looks} <= {"done", "service_token_unavailable"}

    def renew_in_the_background(self, session: Known, worker: int) -> str:
        try:
            self.workers[worker].renew_due(session.key)
        except BffError as error:
            return error.code
        return "done"

    @rule(session=sessions, service=st.sampled_from(SERVICES))
    def log_out_during_a_call(self, session: Known, service: Service) -> None:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self.ask, session, service, 0)
            self.log_out(session)
            result = asked.result(60)
        assert "|" not in result or result.partition("|")[0] == session.user

    @rule(session=sessions, seconds=st.sampled_from([0.0, 61.0]))
    def touch_during_a_call(self, session: Known, seconds: float) -> None:
        self.now += seconds
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self.ask, session, SERVICES[0], 0)
            self.touch(session)
            self.judge(session, SERVICES[0], asked.result(60))

    def touch(self, session: Known) -> None:
        record = self.store.find_by_key(session.key)
        if record is not None:
            self.store.touch(session.session_id, record)

    @rule(session=sessions)
    def log_out(self, session: Known) -> None:
        self.store.end_by_key(session.key)
        session.has_ended = True

    @rule(seconds=st.sampled_from([1.0, 30.0, 241.0, 299.0, 400.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(is_failing=st.booleans())
    def change_the_provider(self, is_failing: bool) -> None:
        self.idp.is_failing = is_failing

    def ask(self, session: Known, service: Service, worker: int) -> str:
        """A token, or the code of a refusal."""
        try:
            return str(self.workers[worker].get(service, session.key))
        except BffError as error:
            return error.code

    def judge(self, session: Known, service: Service, result: str) -> None:
        if session.has_ended:
            assert result == "session_expired"
        elif "|" in result:
            user, audience, _ = result.split("|")
            assert (user, audience) == (session.user, service.token.audience)
        else:
            assert result == "service_token_unavailable"
            assert self.idp.is_failing or self.now - self.idp.failed_at <= BACK_OFF_SECONDS

    @invariant()
    def no_refresh_token_was_spent_twice(self) -> None:
        assert self.idp.reused == 0

    @invariant()
    def nothing_was_renewed_before_it_was_due(self) -> None:
        assert self.idp.needless == 0

    @invariant()
    def what_has_ended_stays_ended_and_nothing_else_ends(self) -> None:
        for session in self.known:
            is_there = self.store.find_by_key(session.key) is not None
            has_tokens = self.tokens.find_stored(session.key) is not None
            assert (is_there, has_tokens) == (not session.has_ended, not session.has_ended)

    @invariant()
    def roles_are_those_of_the_sessions_user(self) -> None:
        for session in self.known:
            record = self.store.find_by_key(session.key)
            roles = record.claims.get("roles") if record else None
            assert roles is None or (isinstance(roles, list) and roles[0] == session.user)

    def teardown(self) -> None:
        for session in self.known:  # a refresh that nobody waits for ends before its provider goes
            with self.state.lock(f"refresh-{session.key}", 20):
                self.check_roles(session)
        self.parts.close()

    def check_roles(self, session: Known) -> None:
        record = self.store.find_stored_by_key(session.key)
        if record is not None:
            assert record.claims.get("roles") == self.idp.roles.get(session.grant)


PROFILE = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def machine_place() -> Iterator[None]:
    yield
    TokenMachine.place = ""


def test_whatever_happens_tokens_stay_where_they_belong_in_a_directory() -> None:
    run_state_machine_as_test(TokenMachine, settings=PROFILE)


def test_whatever_happens_tokens_stay_where_they_belong_in_redis(redis_server: RedisServer) -> None:
    TokenMachine.place = build_place(redis_server.url)
    run_state_machine_as_test(TokenMachine, settings=PROFILE)
