"""The BFF starts and serves while a part that it needs is down, says so, and heals by itself (O3): the OpenID Provider,
Redis, the decision point."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
import yaml

from tests.support.bff import Stack, build_routes, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.farm import build_redis_settings, write_key_file
from tests.support.processes import free_port, wait_until
from tests.support.real_op import BASIC_CLIENT, start_op
from tests.support.real_pdp import start_cerbos
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


def test_o3_the_bff_starts_without_its_decision_point_and_heals(stack: Stack, tmp_path: Path) -> None:
    port, pdp_port = free_port(), free_port()
    decisions = {
        "connection": {"base_url": f"http://127.0.0.1:{pdp_port}"},
        "circuit_breaker": {"reset_timeout": 1},
        "subject_claims": ["roles"],
    }
    (tmp_path / "bff" / "config").mkdir(parents=True)
    (tmp_path / "bff" / "config" / "pdp.yaml").write_text(yaml.safe_dump(decisions), encoding="utf-8")
    bff = start_bff(
        tmp_path / "bff",
        issuer=stack.op.issuer,
        client=stack.op.register_client(f"http://localhost:{port}"),
        backend_url=stack.backend_url,
        port=port,
        workers=1,
        routes=build_routes(stack.backend_url, with_decisions=True),
    )
    try:
        with BrowserClient(bff.origin) as alice:
            alice.log_in("alice")
            for _ in range(8):  # more than it takes for the decision point to be left alone
                refused = alice.get("/api/crud/forms")
                assert (refused.status_code, refused.headers["X-BFF-Error"]) == (503, "pdp_unavailable")
            assert alice.post("/api/crud/forms", json={"title": "x"}).status_code == 503
            assert alice.get("/api/crud/whoami").status_code == 200, "what needs no decision is served"
            assert alice.is_logged_in()
            ready = alice.get("/health/ready")
            assert (ready.status_code, ready.json()["parts"]["pdp"]) == (200, "unavailable")

            pdp = start_cerbos(tmp_path, port=pdp_port)
            try:
                wait_until(
                    lambda: alice.get("/api/crud/forms").status_code == 200,
                    timeout_seconds=30,
                    what="the first decision after the decision point came up",
                )
                assert alice.get("/health/ready").json()["parts"]["pdp"] == "ok"
            finally:
                pdp.stop()
    finally:
        bff.stop()
