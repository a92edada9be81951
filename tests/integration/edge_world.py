"""An edge that asks /auth/verify, and what its refusals look like: what the ForwardAuth tests share."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask
from msgspec.structs import replace
from werkzeug.test import TestResponse

from tests.integration.login_world import Browser, World

IDENTITY = ("X-User-ID", "X-Original-User", "X-Session-ID")
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}


class Edge:
    """What stands between the browser and an application, and asks before it lets anything through."""

    def __init__(self, world: World, app: Flask) -> None:
        self.world = world
        self.app = app
        self.browser = Browser(app)
        self.client = app.test_client(use_cookies=False)

    def ask(
        self,
        uri: str = "/tools/graph",
        *,
        method: str = "GET",
        peer: str = "10.1.2.3",
        path: str = "/auth/verify",
        headers: dict[str, str] | None = None,
        **forwarded: str,
    ) -> TestResponse:
        lines = {"Method": method, "Proto": "http", "Host": "localhost:8000", "Uri": uri, **forwarded}
        sent = {f"X-Forwarded-{name}": value for name, value in lines.items() if value}
        environ = {"REMOTE_ADDR": peer}
        return self.client.get(
            path, base_url="http://bff.internal:8000", headers={**sent, **(headers or {})}, environ_overrides=environ
        )

    def cookie(self, *others: str) -> dict[str, str]:
        return {"Cookie": "; ".join([f"bff_session={self.browser.cookie()}", *others])}

    def spend_access_token(self, **changes: Any) -> None:
        """Lets the user's access token have run out."""
        services = self.app.extensions["bff"]
        key = services.session_store.session_key(self.browser.cookie())
        stored = services.token_store.find_stored(key)
        spent = replace(stored.tokens, expires_at=time.time() - 60, obtained_at=time.time() - 360, **changes)
        assert services.token_store.replace(key, stored, spent, 3600)


def assert_no(answer: TestResponse, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers.get("X-BFF-Error")) == (status, code)
    assert [answer.headers.get_all(name) for name in IDENTITY] == [[""], [""], [""]]
    assert answer.content_type == "application/problem+json"
    assert "Set-Cookie" not in answer.headers
