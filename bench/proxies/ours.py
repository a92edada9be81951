"""The BFF as it is shipped: its own gunicorn.conf.py, the demo's provider, decision point and kind of routes.

Sessions are put into its store directly, each with a token of its own: what a login costs is not measured here.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from app.core.cross_site import build_csrf_token
from app.services.key_ring import KeyRing
from app.services.session_store import NewSession, SessionStore
from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.redis_engine import open_redis_state_store
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.session_section import RedisSettings, SessionSettings
from bench.proxies.contestant import JSON_PATH, Caller, Contestant, write_callers
from bench.proxies.machine import Cores
from bench.proxies.others import Backend
from tests.support.bff import build_settings, merge, write_configuration
from tests.support.processes import free_port, is_answering, minimal_environment, start_server
from tests.support.product import GUNICORN, PRODUCT
from tests.support.real_op import CRUD_AUDIENCE, CRUD_SCOPE, RealOp
from tests.support.redis_servers import RedisServer

CLAIMS = {"name": "Alice", "email": "alice@example.com", "roles": ["editor", "user"], "permissions": ["forms.read"]}
READS = ("get", "mget", "evalsha", "eval", "fcall", "hget", "hmget", "getex")
WEEK_SECONDS = 7 * 86400


@dataclass(frozen=True, slots=True)
class World:
    """What every BFF of a run stands on."""

    directory: Path
    backend: Backend
    events_port: int
    events_pid: int
    echo_port: int
    echo_pid: int
    op: RealOp
    pdp_url: str
    redis: RedisServer
    cores: Cores


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to run the BFF."""

    name: str
    title: str
    uses_redis: bool = True
    worker_class: str = ""
    """Empty: the one in gunicorn.conf.py."""
    sessions: int = 200
    more_routes: int = 0
    backend_urls: tuple[str, ...] = ()
    """Several that take turns; empty: the one of the run."""
    reset_seconds: float = 30
    """How long a backend that failed is left alone."""


def build_routes(world: World, setup: Setup) -> dict[str, Any]:
    common: dict[str, Any] = {"target_service": "crud_service", "auth": "session", "methods": ["GET", "POST"]}
    read = {method: {"resource": "form", "action": "read", "id_from": "{path}"} for method in ("GET", "POST")}
    events = {"path": "/api/crud/events", "target_service": "events_service", "upstream_path": "/", "auth": "session"}
    echo = {"path": "/api/crud/echo", "target_service": "echo_service", "upstream_path": "/", "auth": "session"}
    routes = [
        {**common, "path": "/api/crud/*", "upstream_path": "/{path}", "authz": "pdp", "authz_map": read},
        {**common, "path": "/api/open/*", "upstream_path": "/{path}", "authz": "none"},
        {**events, "authz": "none", "streaming": True, "methods": ["GET"]},
        {**echo, "authz": "none", "websocket": True, "methods": ["GET"]},
    ]
    routes += [
        {**common, "path": f"/api/area{number}/things/*", "upstream_path": f"/area{number}/{{path}}", "authz": "none"}
        for number in range(setup.more_routes)
    ]
    for route in routes:
        route.setdefault("max_body_bytes", 2**31)
    token = {"mode": "client_credentials", "audience": CRUD_AUDIENCE, "scope": CRUD_SCOPE}
    services = {
        "crud_service": {
            "base_urls": list(setup.backend_urls or [world.backend.url]),
            "token": token,
            "circuit_breaker": {"reset_seconds": setup.reset_seconds},
        },
        "events_service": {
            "base_url": f"http://127.0.0.1:{world.events_port}",
            "token": {"mode": "none"},
            "max_connections": 8192,
        },
        "echo_service": {
            "base_url": f"http://127.0.0.1:{world.echo_port}",
            "token": {"mode": "none"},
            "max_connections": 8192,
        },
    }
    return {"services": services, "routes": routes}


def start_ours(directory: Path, world: World, setup: Setup) -> Contestant:
    port, internal_port = free_port(), free_port()
    directory.mkdir()
    key = secrets.token_bytes(32)
    key_file = directory / "data.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(base64.b64encode(key) + b"\n")
    client = world.op.register_client(f"http://localhost:{port}")
    base = build_settings(port, internal_port, issuer=world.op.issuer, client=client, directory=directory)
    prefix = f"{setup.name}:"
    store: Mapping[str, Any] = {"store": "filesystem"}
    if setup.uses_redis:
        store = {"store": "redis", "redis_url": world.redis.url, "redis": {"key_prefix": prefix}}
    more = {"session": store, "tokens": {"data_key_file": str(key_file)}, "limits": {"login_starts": ""}}
    write_configuration(directory / "config", merge(base, more), build_routes(world, setup))
    # Remembered for the whole run: what is measured is a call with a cached decision, not how often one is asked for.
    pdp = f'connection: {{base_url: "{world.pdp_url}"}}\nsubject_claims: [roles]\ncache: {{ttl_allow: 3600}}\n'
    (directory / "config" / "pdp.yaml").write_text(pdp, encoding="utf-8")
    worker = ["--worker-class", setup.worker_class] if setup.worker_class else []
    child = start_server(
        setup.name,
        world.cores.pin_proxy([*GUNICORN, *worker, "wsgi:app"]),
        log_path=directory / "log",
        ready=lambda _: is_answering(f"http://127.0.0.1:{port}/health/live", status=200),
        environment=minimal_environment(
            BFF_BIND=f"127.0.0.1:{port}", BFF_CONFIG_DIR=str(directory / "config"), WEB_CONCURRENCY="1"
        ),
        directory=PRODUCT,
        timeout_seconds=120,
    )
    redis_prefix = prefix if setup.uses_redis else ""
    with open_store(directory, world.redis, redis_prefix) as state:
        callers = list(put_sessions(state, KeyRing([key]), setup.sessions, world.op.issuer))
    contestant = Contestant(
        setup.name,
        setup.title,
        port,
        [child.pid],
        write_callers(directory / "callers", callers),
        child.stop,
        count_store_reads=(lambda: count_reads(world.redis)) if setup.uses_redis else None,
    )
    if not is_answering_call(contestant, callers[0]):
        raise SystemExit(f"{setup.name} does not let a logged-in call through; its log: {child.read_log()[-2000:]}")
    return contestant


def is_answering_call(contestant: Contestant, caller: Caller) -> bool:
    answer = requests.get(f"http://{contestant.address}{JSON_PATH}", headers={"Cookie": caller.cookie}, timeout=10)
    return answer.status_code == 200


@contextmanager
def open_store(directory: Path, redis: RedisServer, redis_prefix: str) -> Iterator[StateStore]:
    if redis_prefix:
        state: StateStore = open_redis_state_store(redis.url, RedisSettings(key_prefix=redis_prefix), time.time)
    else:
        state = DirectoryStateStore(directory / "state", time.time)
    with closing(state):
        yield state


def put_sessions(state: StateStore, key_ring: KeyRing, count: int, issuer: str) -> Iterator[Caller]:
    settings = SessionSettings(idle_timeout_seconds=WEEK_SECONDS, absolute_timeout_seconds=WEEK_SECONDS)
    sessions = SessionStore(state, key_ring, settings=settings, clock=time.time)
    tokens = TokenStore(state, key_ring, clock=time.time)
    for number in range(count):
        user = f"9f2c4a5e-{number:06}"
        login = NewSession(user_id=user, subject=user, provider="test", issuer=issuer, claims=CLAIMS)
        session_id, _ = sessions.create(login)
        token = TokenSet(
            access_token=secrets.token_urlsafe(600),
            token_type="Bearer",
            expires_at=time.time() + WEEK_SECONDS,
            refresh_token=None,
            id_token=None,
            scope="openid",
        )
        assert tokens.save(sessions.session_key(session_id), token, WEEK_SECONDS)
        yield Caller(f"bff_session={session_id}", build_csrf_token(session_id))


def count_reads(redis: RedisServer) -> int:
    found = redis.read_section("commandstats")
    return sum(int(stats["calls"]) for name, stats in found.items() if name.removeprefix("cmdstat_") in READS)
