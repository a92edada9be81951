"""The product registers itself under its production server: on two machines at once, before the provider is up, and
killed in the middle."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.bff import Bff, merge, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.farm import write_key_file
from tests.support.log_lines import wait_for_lines
from tests.support.log_scan import find_leaks
from tests.support.processes import free_port, wait_until
from tests.support.real_op import OpClient, RealOp, start_op
from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.live

TOKEN = "initial-access-token-of-a-live-test"
NO_CLIENT = OpClient("", "private_key_jwt", "")


def build_settings(token: str, port: int, **more: Any) -> dict[str, Any]:
    """For a BFF that registers itself; calls reach it at `port`."""
    settings = {
        "server": {"public_url": f"http://localhost:{port}"},
        "oidc": {"dcr": {"enabled": True, "initial_access_token": token}, "timeout_seconds": 10},
    }
    return merge(settings, more)


@contextmanager
def running_bff(directory: Path, issuer: str, settings: dict[str, Any], *, port: int | None = None) -> Iterator[Bff]:
    bff = start_bff(
        directory,
        issuer=issuer,
        client=NO_CLIENT,
        backend_url="http://127.0.0.1:9",
        port=port,
        workers=2,
        settings=settings,
    )
    try:
        yield bff
    finally:
        bff.stop()


def read_client_part(bff: Bff) -> str:
    answer = requests.get(f"{bff.internal_origin}/health/ready", timeout=5)
    assert answer.status_code == 200, "a client that is not there takes nobody out of service"
    part: str = answer.json()["parts"]["client"]
    return part


def wait_for_client(bff: Bff) -> None:
    wait_until(lambda: read_client_part(bff) == "ok", timeout_seconds=60, what="a client")


def count_registrations(op: RealOp) -> int:
    return len([event for event in op.events("request") if (event["method"], event["path"]) == ("POST", "/reg")])


def test_two_machines_that_start_before_the_provider_register_once(tmp_path: Path, redis_server: RedisServer) -> None:
    """O3. Two machines with two workers each, sharing nothing but Redis."""
    op_port, port = free_port(), free_port()
    shared = build_settings(
        TOKEN,
        port,
        session={"store": "redis", "redis_url": redis_server.url, "redis": {"key_prefix": f"{tmp_path.name}:"}},
        tokens={"data_key_file": str(write_key_file(tmp_path))},
        keys={"store": "redis"},
    )
    issuer = f"http://127.0.0.1:{op_port}"
    with ExitStack() as parts:
        first = parts.enter_context(running_bff(tmp_path / "first", issuer, shared, port=port))
        second = parts.enter_context(running_bff(tmp_path / "second", issuer, shared))
        assert {read_client_part(first), read_client_part(second)} == {"unregistered"}
        refused = requests.get(f"{first.origin}/auth/login", allow_redirects=False, timeout=15)
        assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "idp_unavailable")

        op = start_op(tmp_path, port=op_port, OP_IAT=TOKEN)
        parts.callback(op.stop)
        wait_for_client(first)
        wait_for_client(second)
        with BrowserClient(first.origin) as alice:  # on one connection, so at one worker
            wait_until(
                lambda: alice.navigate("/auth/login", site="none").status_code == 302,
                timeout_seconds=30,
                what="this worker to know the provider",
            )
            alice.log_in("alice")
            assert alice.is_logged_in()
            alice.log_out()

        assert count_registrations(op) == 1
        logs = [bff.child.log_path for bff in (first, second)]
        [registered] = wait_for_lines(logs, event="client.registered")
        [stored] = read_records(redis_server, f"*{tmp_path.name}*client-registration*")
        assert registered["client_id"].encode() not in stored, "it is sealed"
        assert find_leaks(logs, [TOKEN, *op.secrets()]) == []

    with ExitStack() as parts:
        # The provider keeps its clients in memory, so this one is gone there: nobody is to make a new one.
        unset = merge(shared, {"oidc": {"dcr": {"initial_access_token": ""}}})
        op = start_op(tmp_path / "op-again", port=op_port, OP_IAT=TOKEN)
        parts.callback(op.stop)
        again = parts.enter_context(running_bff(tmp_path / "again", issuer, unset, port=port))
        wait_until(lambda: read_client_part(again) == "attention", timeout_seconds=60, what="word of the lost client")
        assert count_registrations(op) == 0
        [problem] = wait_for_lines([again.child.log_path], event="registration.failed")
        assert problem["problem"] == "client_lost"


def read_records(redis_server: RedisServer, pattern: str) -> list[bytes]:
    with redis_server.admin() as admin:
        return [value for key in admin.scan_iter(match=pattern) if isinstance(value := admin.dump(key), bytes)]


def test_after_a_kill_in_the_middle_the_token_is_not_sent_again(tmp_path: Path) -> None:
    op = start_op(tmp_path, OP_IAT=TOKEN)
    try:
        op.fail("/reg", delay_ms=8000)
        port = free_port()
        with running_bff(tmp_path / "bff", op.issuer, build_settings(TOKEN, port), port=port) as killed:
            wait_until(lambda: count_registrations(op) == 1, timeout_seconds=30, what="a registration under way")
            os.killpg(killed.child.pid, signal.SIGKILL)
        op.clear_faults()

        with running_bff(tmp_path / "bff", op.issuer, build_settings(TOKEN, port), port=port) as bff:
            [problem] = wait_for_lines([bff.child.log_path], event="registration.failed")
            assert problem["problem"] == "outcome_unknown"
            assert read_client_part(bff) == "unregistered"
            assert count_registrations(op) == 1
            said = wait_for_lines([bff.child.log_path], event="client_registration.problem")
            assert re.search("bff client register --new", said[0]["next_step"])
    finally:
        op.stop()
