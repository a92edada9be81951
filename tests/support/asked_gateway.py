"""The behaviour suite's BFF with a decision point that is asked about every call: nothing is remembered.

Each route asks about a resource type of its own, so a question tells which route was matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.support.authzen_pdp import AuthzenPdp, Question
from tests.support.bff import start_bff
from tests.support.doors import DOORS
from tests.support.gateway import Gateway, echo, put_session
from tests.support.raw_backend import RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT


@dataclass(frozen=True, slots=True)
class AskedRoute:
    """A wildcard route; what follows the prefix is the resource's id, and is sent behind the upstream prefix."""

    resource: str
    prefix: str
    upstream_prefix: str
    allow_in_path: tuple[str, ...] = ()


ASKED_ROUTES = (
    AskedRoute("crud", "/api/crud/", "/v1/"),
    AskedRoute("report", "/api/crud/reports/", "/reports/"),
    AskedRoute("public", "/public/", "/"),
    AskedRoute("admin", "/public/admin/", "/admin/"),
    AskedRoute("odd", "/odd/", "/odd/", ("encoded_slash", "semicolon", "encoded_unreserved")),
    AskedRoute("odd-secret", "/odd/secret/", "/secret/"),
)


@dataclass(slots=True, kw_only=True)
class AskedGateway(Gateway):
    pdp: AuthzenPdp

    def take_questions(self) -> list[Question]:
        taken = list(self.pdp.questions)
        self.pdp.questions.clear()
        return taken


def build_route(route: AskedRoute) -> dict[str, Any]:
    return {
        "path": f"{route.prefix}*",
        "target_service": "recorder",
        "upstream_path": f"{route.upstream_prefix}{{path}}",
        "auth": "session",
        "authz": "pdp",
        "authz_map": {"GET": {"resource": route.resource, "action": "read", "id_from": "{path}"}},
        "methods": ["GET"],
        "allow_in_path": list(route.allow_in_path),
    }


@pytest.fixture(scope="module", params=DOORS)
def asked_gateway_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AskedGateway]:
    """Once with each door; tests take `asked_gateway`."""
    directory = tmp_path_factory.mktemp("asked")
    with ExitStack() as parts:
        backend = parts.enter_context(RawBackend(echo))
        pdp = parts.enter_context(AuthzenPdp())
        (directory / "config").mkdir()
        decisions = {"connection": {"base_url": pdp.url}, "cache": {"ttl_allow": 0, "ttl_deny": 0}}
        (directory / "config" / "pdp.yaml").write_text(yaml.safe_dump(decisions), encoding="utf-8")
        bff = start_bff(
            directory,
            issuer=f"http://127.0.0.1:{find_closed_port()}",
            client=BASIC_CLIENT,
            backend_url=backend.url,
            workers=1,
            door=request.param,
            settings={"frontends": []},  # what no route claims is refused
            routes={
                "services": {"recorder": {"base_url": backend.url, "token": {"mode": "none"}}},
                "routes": [build_route(route) for route in ASKED_ROUTES],
            },
        )
        parts.callback(bff.stop)
        sessions, session_id = put_session(bff)
        yield AskedGateway(bff, backend, session_id, sessions, door=request.param, pdp=pdp)


@pytest.fixture
def asked_gateway(asked_gateway_process: AskedGateway) -> AskedGateway:
    asked_gateway_process.take_requests()
    asked_gateway_process.take_questions()
    return asked_gateway_process
