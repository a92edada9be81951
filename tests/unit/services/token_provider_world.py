"""Workers that give services their tokens, over a real directory store, with a provider in memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ServiceTokenUnavailableError
from app.core.routes import Service, ServiceToken, TokenMode
from app.services.key_ring import KeyRing
from app.services.oidc_claims import ClaimSelection
from app.services.own_dpop_key import OwnDpopKey
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import SessionStore
from app.services.session_tokens import SessionTokens
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_provider import TokenProvider
from app.services.token_store import TokenStore
from app.settings.schema.settings_file import SessionSettings
from tests.support.fake_idp import FakeIdp
from tests.unit.services.oidc_worker import build_oidc_client

SESSION_KEY = "a" * 64


def build_service(name: str = "crud", mode: TokenMode = "client_credentials", **token: Any) -> Service:
    return Service(
        name=name,
        base_urls=("http://crud.example.com",),
        token=ServiceToken(mode=mode, **token),
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
        total_timeout_seconds=0,
        retry=0,
        max_connections=1,
        breaker_failures=1,
        breaker_reset_seconds=1,
    )


CRUD = build_service(audience="https://crud.example.com", scope="application.all")


class World:
    """Workers that share a store and a provider."""

    def __init__(self, directory: Path, idp: FakeIdp) -> None:
        self.idp = idp
        self.now = 1_700_000_000.0
        self.state_directory = directory / "state"
        self.state_store = DirectoryStateStore(self.state_directory, self.clock)
        self.key_ring = KeyRing([secrets.token_bytes(32)])
        self.token_store = TokenStore(self.state_store, self.key_ring, clock=self.clock)

    def clock(self) -> float:
        return self.now

    def start_worker(self, refresh_ahead_seconds: float = 60) -> TokenProvider:
        client = build_oidc_client(self.clock)
        session_store = SessionStore(self.state_store, self.key_ring, settings=SessionSettings(), clock=self.clock)
        session_tokens = SessionTokens(
            oidc_client=client,
            session_store=session_store,
            token_store=self.token_store,
            state_store=self.state_store,
            refresh_ahead_seconds=refresh_ahead_seconds,
            idp_timeout_seconds=10,
            refreshed_claims=RefreshedClaims(
                oidc_client=client,
                session_store=session_store,
                selection=ClaimSelection(role_sources=(), permission_sources=(), kept=()),
                asks_userinfo=False,
            ),
            count_refresh=lambda _outcome: None,
            count_session_ended=lambda _reason: None,
            clock=self.clock,
        )
        return TokenProvider(
            oidc_client=client,
            token_store=self.token_store,
            state_store=self.state_store,
            session_tokens=session_tokens,
            refresh_ahead_seconds=refresh_ahead_seconds,
            idp_timeout_seconds=10,
            clock=self.clock,
            get_own_dpop_key=OwnDpopKey(self.state_store, self.key_ring).get,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeIdp().serve() as idp:
        yield World(tmp_path, idp)


def assert_unavailable(provider: TokenProvider, service: Service = CRUD) -> ServiceTokenUnavailableError:
    with pytest.raises(ServiceTokenUnavailableError) as caught:
        provider.get(service, None)
    return caught.value
