"""The BFF starts and serves while the OpenID Provider or Redis is down, says so, and heals by itself (O3)."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.bff import Stack, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.farm import build_redis_settings, write_key_file
from tests.support.processes import free_port, wait_until
from tests.support.real_op import BASIC_CLIENT, start_op
from tests.support.redis_servers import running_redis

pytestmark = pytest.mark.live


def test_the_bff_starts_without_its_provider_and_heals(stack: Stack, tmp_path: Path) -> None:
    provider_port, port = free_port(), free_port()
    bff = start_bff(
        tmp_path / "bff",
        issuer=f"http://127.0.0.1:{provider_port}",
        client=BASIC_CLIENT,
        backend_url=stack.backend_url,
        port=port,
        workers=2,
    )
    try:
        with BrowserClient(bff.origin) as alice:
            ready = alice.get("/health/ready")
            assert ready.status_code == 200, "the provider is reported, not required"
            refused = alice.navigate("/auth/login", site="none")
            assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "idp_unavailable")
            assert alice.navigate("/", site="none").status_code == 200, "what needs no login is served"

            op = start_op(tmp_path, port=provider_port, origins=(bff.origin,))
            try:
                wait_until(
                    lambda: alice.navigate("/auth/login", site="none").status_code == 302,
                    timeout_seconds=60,
                    what="the first login after the provider came back",
                )
                alice.log_in("alice")
                op.stop()
                assert alice.is_logged_in(), "a session outlives an outage of the provider"
                assert alice.get("/api/profile/whoami").status_code == 200, "its token is still valid"
            finally:
                op.stop()
    finally:
        bff.stop()


def test_o3_the_bff_starts_without_its_redis_and_heals(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    with running_redis(tmp_path) as redis:
        redis.kill()
        shared = {"tokens": {"data_key_file": str(write_key_file(tmp_path))}}
        bff = start_bff(
            tmp_path / "bff",
            issuer=stack.op.issuer,
            client=stack.op.register_client(f"http://localhost:{port}"),
            backend_url=stack.backend_url,
            port=port,
            workers=2,
            settings={**build_redis_settings(redis.url), **shared},
        )
        try:
            with BrowserClient(bff.origin) as alice:
                ready = requests.get(f"{bff.internal_origin}/health/ready", timeout=10)
                assert (ready.status_code, ready.json()["parts"]["store"]) == (503, "unavailable")
                assert alice.get("/health/live").status_code == 200
                refused = alice.navigate("/auth/login", site="none")
                assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "store_unavailable")

                redis.start()
                wait_until(
                    lambda: requests.get(f"{bff.internal_origin}/health/ready", timeout=10).status_code == 200,
                    timeout_seconds=30,
                    what="the BFF to be ready",
                )
                alice.log_in("alice")
                assert alice.get("/api/profile/whoami").status_code == 200
        finally:
            bff.stop()
