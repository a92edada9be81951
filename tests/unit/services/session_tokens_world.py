"""Workers that hand out users' tokens and refresh them.

Workers are instances that share a store and a provider, as processes do; each refresh runs in a thread of its own.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.core.routes import Service, ServiceToken, TokenMode
from app.services.key_ring import KeyRing
from app.services.oidc_claims import ClaimSelection
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import NewSession, SessionStore
from app.services.session_tokens import SessionTokens
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import SessionSettings
from tests.support.fake_idp import ISSUER, FakeIdp
from tests.unit.services.oidc_worker import build_oidc_client

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
        oidc_client = build_oidc_client(self.clock)
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


def wait_until_stored(world: World, key: str, access_token: str) -> None:
    """A refresh that nobody waits for has ended once the lock can be had and the record is new."""
    event = threading.Event()
    for _ in range(2000):
        if world.stored(key).access_token == access_token:
            return
        event.wait(0.005)
    raise AssertionError("the refresh did not end")
