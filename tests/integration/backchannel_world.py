"""A BFF whose provider tells it of logouts, and the logout tokens that it sends."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.integration.login_world import ORIGIN, Browser, World, build_settings
from tests.support.real_op import OpClient, RealOp

NOWHERE = "http://127.0.0.1:9/auth/backchannel-logout"
"""A client that names an address gets a `sid`; here no logout at the provider sends anything to it."""

PATH = "/auth/backchannel-logout"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


class LogoutWorld(World):
    """With a client that the provider would tell of logouts."""

    def __init__(self, directory: Path, op: RealOp, client: OpClient) -> None:
        super().__init__(directory, op)
        self.settings = build_settings(directory, issuer=op.issuer, client=client)
        self.client = client


@pytest.fixture(scope="module")
def client(op_process: RealOp) -> OpClient:
    return op_process.register_client(ORIGIN, backchannel_logout_uri=NOWHERE, backchannel_logout_session_required=True)


@pytest.fixture
def world(tmp_path: Path, op: RealOp, client: OpClient) -> LogoutWorld:
    return LogoutWorld(tmp_path, op, client)


def send(app: Flask, logout_token: str, **options: Any) -> TestResponse:
    """What the provider does: no cookie, no Origin, no Fetch Metadata."""
    client = app.test_client(use_cookies=False)
    answer = client.post(PATH, base_url=ORIGIN, **({"data": {"logout_token": logout_token}} | options))
    answer.close()  # what is done once the answer is out
    return answer


def log_in(world: LogoutWorld, app: Flask, user: str = "alice") -> tuple[Browser, str]:
    """A browser that is logged in, and the name of its session at the provider."""
    before = set(world.op.secrets("id_token"))
    browser = Browser(app)
    browser.log_in(user)
    [id_token] = set(world.op.secrets("id_token")) - before
    claims = json.loads(base64.urlsafe_b64decode(id_token.split(".")[1] + "=="))
    return browser, str(claims["sid"])


def mint(world: LogoutWorld, *, sub: str = "alice", sid: str = "", fault: dict[str, Any] | None = None) -> str:
    ours = json.loads(json.dumps(fault).replace("CLIENT", world.client.client_id))
    return world.op.mint_logout_token(world.client, sub=sub, sid=sid, fault=ours)


def assert_accepted(answer: TestResponse) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.data == b""
    assert "Set-Cookie" not in answer.headers


def assert_refused(answer: TestResponse, status: int = 400, code: str = "bad_request") -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def read_audit(capfd: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("log") == "audit" and line["event"] == event]
