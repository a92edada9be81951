"""The application under Flask's test client, with the real OpenID Provider: what the login and logout tests share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
import yaml
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.settings import load_configuration
from tests.support.opwalk import walk
from tests.support.real_op import OpClient, RealOp

ORIGIN = "http://localhost:8000"
SESSION_COOKIE = "bff_session"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
CALL = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
ROUTES: dict[str, Any] = {
    "services": {"crud_service": {"base_url": "http://127.0.0.1:9"}},
    "routes": [
        {
            "path": "/api/crud/*",
            "target_service": "crud_service",
            "upstream_path": "/{path}",
            "auth": "session",
            "authz": "none",
        },
        {
            "path": "/api/files/*",
            "target_service": "crud_service",
            "upstream_path": "/files/{path}",
            "auth": "session",
            "authz": "none",
            "navigation": True,
        },
    ],
}

UNSAFE_RETURNS = [
    "/\\evil",
    "/%5cevil",
    "/%09/evil",
    "//evil",
    "///evil",
    "/%2f/evil",
    "https://good@evil",
    "https://evil.example",
    "http://localhost:8000.evil.example/",
    "http://localhost:8000@evil.example/",
    "http://localhost:80001/",
    "https://localhost:8000/",
    "javascript:alert(1)",
    "data:text/html,x",
    "/%0d%0aSet-Cookie:a=b",
    "/\r\nSet-Cookie:a=b",
    "\u3000//evil",
    "http:good",
    "evil",
    "/" + "a" * 2048,
]


def build_settings(directory: Path, *, issuer: str, client: OpClient) -> dict[str, Any]:
    return {
        "environment": "development",
        "server": {"public_url": ORIGIN},
        "limits": {"login_starts": "1000/minute"},
        "oidc": {
            "issuer": issuer,
            "provider": "test",
            "client_id": client.client_id,
            "client_auth": client.auth_method,
            "client_secret": client.client_secret,
            "scopes": ["openid", "profile", "email", "roles", "offline_access"],
            "timeout_seconds": 5,
        },
        "session": {"directory": str(directory / "state")},
        "keys": {"directory": str(directory / "keys")},
    }


def build_app(directory: Path, settings: Mapping[str, Any], routes: Mapping[str, Any] = ROUTES) -> Flask:
    """Makes the application as it is started, from files."""
    config = directory / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "settings.yaml").write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    (config / "routes.yaml").write_text(yaml.safe_dump(dict(routes)), encoding="utf-8")
    return create_app(load_configuration(config, {}))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, one level deep in each section."""
    merged: dict[str, Any] = dict(base)
    for section, values in changes.items():
        both = isinstance(values, Mapping) and isinstance(merged.get(section), Mapping)
        merged[section] = {**merged[section], **values} if both else values
    return merged


class World:
    """A BFF of its own in front of the provider, with settings that a test may change."""

    def __init__(self, directory: Path, op: RealOp) -> None:
        self.directory = directory
        self.op = op
        self.origin = ORIGIN
        self.settings = build_settings(directory, issuer=op.issuer, client=op.basic_client)

    def build(self, **changes: Any) -> Flask:
        self.settings = merge(self.settings, changes)
        self.origin = self.settings["server"]["public_url"]
        return build_app(self.directory, self.settings)

    def open_browser(self, app: Flask | None = None, **changes: Any) -> Browser:
        return Browser(app or self.build(**changes), self.origin)

    def token_calls(self) -> int:
        """How many requests reached the provider's token endpoint, refused or not."""
        return len([event for event in self.op.events("request") if event["path"] == "/token"])


@pytest.fixture
def world(tmp_path: Path, op: RealOp) -> World:
    return World(tmp_path, op)


class Browser:
    """One browser: its cookies at the BFF and, apart from them, those at the provider."""

    def __init__(self, app: Flask, origin: str = ORIGIN) -> None:
        self.app = app
        self.origin = origin
        self.client: FlaskClient = app.test_client()
        self.at_provider = requests.Session()
        self.at_provider.trust_env = False

    def navigate(self, path: str, *, site: str = "same-origin", **headers: str) -> TestResponse:
        return self.client.get(path, base_url=self.origin, headers={**NAVIGATION, "Sec-Fetch-Site": site, **headers})

    def call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> TestResponse:
        return self.client.open(
            path, method=method, base_url=self.origin, headers={**CALL, **(headers or {})}, **options
        )

    def start_login(self, return_to: str = "/", **parameters: str) -> str:
        """Returns where the BFF sends the browser."""
        query = "".join(f"&{name}={quote(value)}" for name, value in parameters.items())
        answer = self.navigate(f"/auth/login?return_to={quote(return_to, safe='')}{query}")
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def walk_to_callback(self, user: str = "alice", return_to: str = "/", **options: Any) -> str:
        """Logs in at the provider; returns the callback's path and query, with its code unspent."""
        url = self.walk(self.start_login(return_to), user, **options)
        return url.removeprefix(self.origin)

    def walk(self, authorization_url: str, user: str = "alice", **options: Any) -> str:
        found = walk(self.at_provider, authorization_url, stop_at=f"{self.origin}/auth/callback", login=user, **options)
        assert isinstance(found, str)
        return found

    def log_in(self, user: str = "alice", return_to: str = "/") -> TestResponse:
        answer = self.navigate(self.walk_to_callback(user, return_to), site="cross-site")
        assert answer.status_code in (200, 303), answer.text
        return answer

    def get_session(self) -> TestResponse:
        return self.call("GET", "/api/auth/session")

    def is_logged_in(self) -> bool:
        return self.get_session().status_code == 200

    def csrf_token(self) -> str:
        token: str = self.get_session().json["csrf_token"]  # type: ignore[index]
        return token

    def log_out(self, **options: Any) -> TestResponse:
        return self.call("POST", "/auth/logout", headers={"X-CSRF-Token": self.csrf_token()}, **options)

    def cookie(self, name: str = SESSION_COOKIE) -> str | None:
        found = self.client.get_cookie(name, domain=urlsplit(self.origin).hostname or "")
        return found.value if found else None

    def cookie_names(self) -> set[str]:
        return {cookie.key for cookie in (self.client._cookies or {}).values()}

    def login_cookie_names(self) -> set[str]:
        return {name for name in self.cookie_names() if "bff_login_" in name}


def query_of(url: str) -> dict[str, str]:
    """The query of a URL whose parameters stand there once each."""
    values = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(found) == 1 for found in values.values()), values.keys()
    return {name: found[0] for name, found in values.items()}


def set_back_last_use(world: World, browser: Browser, seconds: int) -> None:
    """Makes the session look as if it was last used `seconds` ago."""
    from app.services.session_store.record import open_session_record

    services = browser.app.extensions["bff"]
    key = services.session_store.session_key(browser.cookie())
    name = f"session:{key}"
    opened = open_session_record(services.state_store.find(name).value, services.key_ring, name)
    sealed = opened.seal_changed(services.key_ring, name, last_seen_at=services.clock() - seconds)
    services.state_store.put(name, sealed, 3600)
