"""The application under Flask's test client, with a provider in memory and a backend that takes everything: for what
the real provider cannot be made to say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from werkzeug.test import TestResponse

from app import create_app
from app.settings import load_configuration
from tests.integration.login_world import ORIGIN, Browser
from tests.support.fake_idp import CLIENT_ID, ISSUER, FakeIdp
from tests.support.raw_backend import OK_ANSWER, RawBackend, answering_always

SECRET = "a-secret-of-more-than-thirty-two-characters"


class World:
    """A BFF in front of a provider in memory, with a backend that takes everything."""

    def __init__(self, directory: Path, idp: FakeIdp, backend: RawBackend) -> None:
        self.directory = directory
        self.idp = idp
        self.backend = backend
        self.apps: list[Flask] = []
        idp.clock = time.time
        idp.claims = {"roles": ["editor"], "name": "Alice"}

    def open_browser(self, **oidc: Any) -> Browser:
        """The browser of a user who has logged in."""
        browser = self.open_new_browser(**oidc)
        answer = self.come_back(browser)
        assert answer.status_code in (200, 303), answer.text
        return browser

    def open_new_browser(self, **oidc: Any) -> Browser:
        """That of a user who is not logged in yet."""
        self.apps.append(create_app(load_configuration(self._write(oidc), {})))
        return Browser(self.apps[-1])

    def come_back(self, browser: Browser, *more: tuple[str, str]) -> TestResponse:
        parameters = [*self.idp.log_in(browser.start_login()), *more]
        query = "&".join(f"{name}={value}" for name, value in parameters)
        return browser.navigate(f"/auth/callback?{query}", site="cross-site")

    def refreshes(self) -> int:
        return len([form for form in self.idp.forms if form["grant_type"] == "refresh_token"])

    def _write(self, oidc: Mapping[str, Any]) -> Path:
        settings = {
            "environment": "development",
            "server": {"public_url": ORIGIN},
            "oidc": {
                "issuer": ISSUER,
                "client_id": CLIENT_ID,
                "client_auth": "client_secret_post",
                "client_secret": SECRET,
                **oidc,
            },
            "session": {"directory": str(self.directory / "state")},
            "keys": {"directory": str(self.directory / "keys")},
        }
        service = {"base_url": self.backend.url, "token": {"mode": "user"}}
        route = {"path": "/api/*", "target_service": "api", "upstream_path": "/{path}", "auth": "session"}
        routes = {"services": {"api": service}, "routes": [{**route, "authz": "none"}]}
        for name, content in {"settings.yaml": settings, "routes.yaml": routes}.items():
            (self.directory / name).write_text(yaml.safe_dump(content), encoding="utf-8")
        return self.directory


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with RawBackend(answering_always(OK_ANSWER)) as backend, FakeIdp().serve() as idp:
        made = World(tmp_path, idp, backend)
        yield made
        for app in made.apps:
            app.extensions["bff"].upstream_client.close()
