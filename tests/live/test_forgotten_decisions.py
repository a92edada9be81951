"""What was decided is forgotten by every worker and on every node: by command, by the admin endpoint, by a push."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from app.services.key_ring import KeyRing
from app.services.session_store import NewSession, SessionStore
from app.services.state_store.factory import build_state_store
from app.settings.schema.session_section import SessionSettings
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.bff import Bff, run_command, start_bff
from tests.support.browser_client import CALL_HEADERS
from tests.support.farm import build_redis_settings, write_key_file
from tests.support.gateway import echo
from tests.support.log_lines import wait_for_lines
from tests.support.processes import free_port, wait_until
from tests.support.raw_backend import RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT
from tests.support.redis_servers import running_redis

pytestmark = pytest.mark.live

TOKEN = "f00dfeed" * 8
ROUTES: list[dict[str, Any]] = [
    {
        "path": "/api/decided",
        "target_service": "recorder",
        "upstream_path": "/decided",
        "auth": "session",
        "authz": "pdp",
        "methods": ["GET"],
        "authz_map": {"GET": {"resource": "form", "action": "read"}},
    }
]
PDP_FILE = {"cache": {"ttl_allow": 600, "ttl_deny": 600}}
CALLS, WORKERS = 5, 2


@dataclass
class World:
    """Two workers in all: of one instance with a directory, or of two instances that share nothing but Redis."""

    instances: Sequence[Bff]
    pdp: AuthzenPdp
    session_id: str
    store: str

    def call(self) -> set[int]:
        """A few calls to each instance; returns which statuses came."""
        headers = {**CALL_HEADERS, "Cookie": f"bff_session={self.session_id}"}
        headers["Host"] = f"localhost:{self.instances[0].port}"
        urls = [f"http://127.0.0.1:{instance.port}/api/decided" for instance in self.instances for _ in range(CALLS)]
        return {requests.get(url, headers=headers, timeout=10).status_code for url in urls}

    def call_until_every_worker_has_asked(self) -> set[int]:
        """Each worker has a memory of its own, and asks once what it does not remember."""
        self.pdp.questions.clear()
        statuses = set[int]()

        def have_all_asked() -> bool:
            statuses.update(self.call())
            return len(self.pdp.questions) >= WORKERS

        wait_until(have_all_asked, timeout_seconds=20, what="a question of every worker")
        return statuses

    def post(self, instance: Bff, *, token: str = TOKEN, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.post(f"{instance.internal_origin}/admin/pdp/forget", headers=headers, timeout=10, **more)


@pytest.fixture(scope="module", params=["directory", "redis"])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp(request.param)
    ports = [free_port() for _ in range(2 if request.param == "redis" else 1)]
    key_file = write_key_file(directory)
    with ExitStack() as parts:
        pdp = parts.enter_context(AuthzenPdp())
        backend = parts.enter_context(RawBackend(echo))
        session: dict[str, Any] = {"session": {"directory": str(directory / "state")}}
        if request.param == "redis":
            session = build_redis_settings(parts.enter_context(running_redis(directory / "redis")).url)
        settings = {
            "server": {"public_url": f"http://localhost:{ports[0]}"},
            "admin": {"token_file": str(write_token(directory))},
            "tokens": {"data_key_file": str(key_file)},
            **session,
        }
        issuer = f"http://127.0.0.1:{find_closed_port()}"
        instances = list[Bff]()
        for number, port in enumerate(ports):
            config = directory / f"bff-{number}" / "config"
            config.mkdir(parents=True)
            (config / "pdp.yaml").write_text(json.dumps({"connection": {"base_url": pdp.url}, **PDP_FILE}))
            bff = start_bff(
                directory / f"bff-{number}",
                issuer=issuer,
                client=BASIC_CLIENT,
                backend_url=backend.url,
                port=port,
                workers=WORKERS // len(ports),
                settings=settings,
                routes={
                    "services": {"recorder": {"base_url": backend.url, "token": {"mode": "none"}}},
                    "routes": ROUTES,
                },
            )
            parts.callback(bff.stop)
            instances.append(bff)
        session_id = put_session(SessionSettings.model_validate(session["session"]), key_file, issuer)
        yield World(instances, pdp, session_id, request.param)


@pytest.fixture
def world(started: World) -> World:
    """Everything is remembered as allowed."""
    started.pdp.decide = lambda _: True
    assert started.post(started.instances[0]).status_code == 204
    started.call_until_every_worker_has_asked()
    return started


def put_session(settings: SessionSettings, key_file: Path, issuer: str) -> str:
    state = build_state_store(settings, time.time)
    sessions = SessionStore(state, KeyRing.load(key_file), settings=settings, clock=time.time)
    session_id, _ = sessions.create(
        NewSession(user_id="alice", subject="alice", provider="test", issuer=issuer, claims={})
    )
    state.close()
    return session_id


def write_token(directory: Path) -> Path:
    token_file = directory / "admin.token"
    token_file.write_text(TOKEN)
    return token_file


def forget_by_command(world: World) -> None:
    done = run_command(world.instances[0], "pdp", "forget")
    assert done.returncode == 0, done.stderr
    assert "on every node" in done.stdout
    assert json.loads(done.stderr)["event"] == "decisions.dropped"


def forget_by_endpoint(world: World) -> None:
    answer = world.post(world.instances[-1])
    assert (answer.status_code, answer.content) == (204, b"")


def forget_by_push(world: World) -> None:
    """As a decision point would call, with whatever it has to say in a body."""
    assert world.post(world.instances[0], json={"event": "policies.changed", "id": "p-7"}).status_code == 204


@pytest.mark.parametrize("forget", [forget_by_command, forget_by_endpoint, forget_by_push])
def test_everything_that_was_decided_is_forgotten_everywhere(world: World, forget: Callable[[World], None]) -> None:
    world.pdp.decide = lambda _: False
    assert world.call() == {200}, "remembered, and the lifetime is long"
    forget(world)
    statuses = world.call_until_every_worker_has_asked()
    if world.store == "directory":  # with Redis, word of it travels
        assert statuses == {403}
    assert world.call() == {403}


def test_it_is_in_the_audit_trail_who_had_it_forgotten(world: World) -> None:
    forget_by_endpoint(world)
    told = wait_for_lines([world.instances[-1].child.log_path], event="decisions.dropped", by="admin")
    assert {line["client_address"] for line in told} == {"127.0.0.1"}
    assert TOKEN not in world.instances[-1].child.read_log()


@pytest.mark.parametrize(
    ("token", "code"), [("", "token_invalid"), ("wrong", "token_invalid"), (TOKEN[:-1], "token_invalid")]
)
def test_without_the_token_nothing_is_forgotten(world: World, token: str, code: str) -> None:
    world.pdp.decide = lambda _: False
    answer = world.post(world.instances[0], token=token)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, code)
    assert world.call() == {200}


def test_o4_from_outside_there_is_no_such_path(world: World) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": f"localhost:{world.instances[0].port}"}
    answer = requests.post(f"{world.instances[0].origin}/admin/pdp/forget", headers=headers, timeout=10)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")
