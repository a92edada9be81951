"""The login and logout flows over a real directory store, with a provider in memory and a clock that a test moves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.routes import Route, RouteTable
from app.services.control_http import ControlHttp
from app.services.key_ring import KeyRing
from app.services.login_flow import ClaimedLogin, LoginDone, LoginFlow
from app.services.logout_flow import LogoutFlow
from app.services.logout_marks import LogoutMarks
from app.services.oidc_client import OidcClient
from app.services.session_store import SessionStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_store import TokenStore
from app.settings import Configuration, PdpSettings, Settings
from tests.support.fake_idp import CLIENT_ID, ISSUER, FakeIdp

ORIGIN = "https://app.example.com"
SECRET = "a-secret-of-some-length"


def build_settings(**changes: Any) -> Settings:
    sections: dict[str, Any] = {
        "server": {"public_url": ORIGIN},
        "oidc": {
            "issuer": ISSUER,
            "client_id": CLIENT_ID,
            "client_auth": "client_secret_basic",
            "client_secret": SECRET,
            "timeout_seconds": 5,
        },
    }
    for section, values in changes.items():
        sections[section] = {**sections.get(section, {}), **values}
    return Settings.model_validate(sections)


class World:
    """One worker and what it works with; `build` makes its flows anew from changed settings, over the same store."""

    def __init__(self, directory: Path, idp: FakeIdp) -> None:
        self.now = 1_700_000_000.0
        self.idp = idp
        idp.clock = self.clock
        self.directory = directory / "state"
        self.key_ring = KeyRing([secrets.token_bytes(32)])
        self.routes: list[Route] = []
        self.build()

    def clock(self) -> float:
        return self.now

    def build(self, **changes: Any) -> None:
        settings = build_settings(**changes)
        self.state_store = DirectoryStateStore(self.directory, self.clock)
        self.session_store = SessionStore(self.state_store, self.key_ring, settings=settings.session, clock=self.clock)
        self.token_store = TokenStore(self.state_store, self.key_ring, clock=self.clock)
        self.client = OidcClient(settings.oidc, http=ControlHttp(timeout_seconds=5), clock=self.clock, allow_http=False)
        self.noted: list[str] = []
        self.login_flow = LoginFlow(
            Configuration(settings, {}, RouteTable(self.routes), PdpSettings(), ()),
            oidc_client=self.client,
            state_store=self.state_store,
            key_ring=self.key_ring,
            session_store=self.session_store,
            token_store=self.token_store,
            logout_marks=LogoutMarks(self.state_store, clock=self.clock),
            note_tokens=lambda session_key, _tokens: self.noted.append(session_key),
            clock=self.clock,
        )
        self.logout_flow = LogoutFlow(
            settings,
            oidc_client=self.client,
            state_store=self.state_store,
            key_ring=self.key_ring,
            session_store=self.session_store,
            token_store=self.token_store,
        )

    def begin(
        self, return_to: str = "/", subject: str = "alice", live_session_id: str | None = None
    ) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """Starts a login and goes through the provider; returns the callback's parameters and the browser's cookies."""
        start = self.login_flow.start(
            [("return_to", return_to)],
            cookies={},
            live_session_id=live_session_id,
            client_address="192.0.2.1",
            own_origin=ORIGIN,
        )
        (line,) = start.set_cookies
        name, _, rest = line.partition("=")
        return self.idp.log_in(start.redirect_url, subject), {name: rest.partition(";")[0]}

    def claim(self, parameters: list[tuple[str, str]], cookies: dict[str, str]) -> ClaimedLogin:
        return self.login_flow.claim(
            parameters, lambda name: [cookies[name]] if name in cookies else [], own_origin=ORIGIN
        )

    def finish(
        self, parameters: list[tuple[str, str]], cookies: dict[str, str], presented_session_id: str | None = None
    ) -> LoginDone:
        claimed = self.claim(parameters, cookies)
        return self.login_flow.finish(claimed, presented_session_id=presented_session_id, device="Browser/1")

    def log_in(self, subject: str = "alice") -> LoginDone:
        return self.finish(*self.begin(subject=subject))

    def break_store(self) -> None:
        self.directory.rename(self.directory.with_name("away"))
        self.directory.write_text("not a directory")

    def mend_store(self) -> None:
        self.directory.unlink()
        self.directory.with_name("away").rename(self.directory)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeIdp().serve() as idp:
        yield World(tmp_path, idp)
