"""The product under its production server: gunicorn with the product's own gunicorn.conf.py, on free ports.

Fixture `stack` is a provider, the demo's backend and a BFF with several workers, started once for the run; it is put
right before each test, and when the run ends its logs are searched for every secret that passed. A test that stops,
breaks or reconfigures a part starts one of its own with `start_bff`.
"""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.run import build_backend_command
from tests.support.browser_client import BrowserClient
from tests.support.doors import Door, build_door_options
from tests.support.log_scan import find_leaks
from tests.support.processes import Child, free_port, is_answering, minimal_environment, start_server, wait_until
from tests.support.product import BFF_COMMAND, GUNICORN, PRODUCT, PROJECT
from tests.support.real_op import OpClient, RealOp, start_op

WORKERS = 3
PAGE = PROJECT / "tests" / "browser" / "page"
"""A page without a framework or an SDK, which shows what it gets: served on the BFF's own host."""


@dataclass(slots=True)
class Bff:
    """One running BFF."""

    child: Child
    port: int
    internal_port: int
    directory: Path

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def internal_origin(self) -> str:
        return f"http://127.0.0.1:{self.internal_port}"

    @property
    def state_directory(self) -> Path:
        return self.directory / "state"

    @property
    def issuer(self) -> str:
        """The provider that the sessions are from."""
        settings = yaml.safe_load((self.directory / "config" / "settings.yaml").read_text(encoding="utf-8"))
        return str(settings["oidc"]["issuer"])

    def worker_pids(self) -> list[int]:
        """The processes that serve, without their master."""
        listed = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in listed.split()]

    def wait_for_workers(self, count: int) -> list[int]:
        """Wait until `count` workers run and one of them answers."""
        wait_until(lambda: len(self.worker_pids()) == count, timeout_seconds=30, what=f"{count} workers")
        wait_until(self.is_live, timeout_seconds=30, what="an answer")
        return self.worker_pids()

    def is_live(self) -> bool:
        return is_answering(f"http://127.0.0.1:{self.port}/health/live", status=200)

    def stop(self) -> int:
        return self.child.stop(timeout_seconds=40)


def start_bff(
    directory: Path,
    *,
    issuer: str,
    client: OpClient,
    backend_url: str,
    port: int | None = None,
    workers: int = WORKERS,
    settings: Mapping[str, Any] | None = None,
    routes: Mapping[str, Any] | None = None,
    idps: Sequence[Mapping[str, Any]] = (),
    door: Door = "worker",
    options: Sequence[str] = (),
) -> Bff:
    """Start a BFF that keeps everything below `directory`; `settings`, `routes`, `idps` change the configuration, and
    `options` are further ones of gunicorn's command line.

    The caller stops it. Starting again with the same `directory` and `port` finds the same state.
    """
    port, internal_port = port or free_port(), free_port()
    base = build_settings(port, internal_port, issuer=issuer, client=client, directory=directory)
    write_configuration(directory / "config", merge(base, settings or {}), routes or build_routes(backend_url), idps)
    environment = minimal_environment(
        BFF_BIND=f"127.0.0.1:{port}",
        BFF_CONFIG_DIR=str(directory / "config"),
        WEB_CONCURRENCY=str(workers),
        PYTHONWARNINGS="default",
        PYTHONPATH=str(PROJECT),  # for the other door's worker class; the product itself lies where it is started
    )
    child = start_server(
        f"bff-{port}",
        [
            *GUNICORN,
            *build_door_options(door),
            *options,
            "wsgi:app",
        ],
        log_path=directory / "logs" / "bff.log",
        ready=lambda _: is_answering(f"http://127.0.0.1:{port}/health/live", status=200),
        environment=environment,
        directory=PRODUCT,
    )
    return Bff(child, port, internal_port, directory)


def run_command(bff: Bff, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The `bff` command, with the configuration that the workers run with."""
    return subprocess.run(
        [BFF_COMMAND, *arguments],
        env=minimal_environment(BFF_CONFIG_DIR=str(bff.directory / "config")),
        cwd=PRODUCT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def build_settings(port: int, internal_port: int, *, issuer: str, client: OpClient, directory: Path) -> dict[str, Any]:
    return {
        "environment": "development",
        "server": {
            "public_url": f"http://localhost:{port}",
            "internal_bind": f"127.0.0.1:{internal_port}",
            "graceful_timeout_seconds": 3,
        },
        "limits": {"login_starts": "1000/minute"},
        "oidc": {
            "issuer": issuer,
            "provider": "test",
            "client_id": client.client_id,
            "client_auth": client.auth_method,
            "client_secret": client.client_secret,
            "scopes": ["openid", "profile", "email", "roles", "offline_access"],
            "userinfo": True,
        },
        "session": {"store": "filesystem", "directory": str(directory / "state")},
        "keys": {"directory": str(directory / "keys")},
        "frontends": [{"host": "localhost", "directory": str(PAGE)}],
    }


def build_routes(backend_url: str, *, with_decisions: bool = False) -> dict[str, Any]:
    """The demo's routes, in front of the demo's backend; unless asked for, none of them needs a decision point."""
    text = (PROJECT / "demo" / "config" / "routes.yaml").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{DEMO_BACKEND_URL(:-[^}]*)?\}", backend_url, text)
    routes: dict[str, Any] = yaml.safe_load(filled)
    if not with_decisions:
        for route in routes["routes"]:
            route["authz"] = "none"
            route.pop("authz_map", None)
    return routes


def build_route(path: str, service: str, upstream_path: str, **more: Any) -> dict[str, Any]:
    """One more entry for `routes`, open to sessions without a question to a decision point."""
    route = {"path": path, "target_service": service, "upstream_path": upstream_path}
    return {**route, "auth": "session", "authz": "none", **more}


def write_configuration(
    directory: Path, settings: Mapping[str, Any], routes: Mapping[str, Any], idps: Sequence[Mapping[str, Any]] = ()
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    files = {"settings.yaml": settings, "routes.yaml": routes, "idps.yaml": {"idps": [dict(entry) for entry in idps]}}
    for name, content in files.items():
        (directory / name).write_text(yaml.safe_dump(dict(content)), encoding="utf-8")


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings within mappings too."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        both_mappings = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_mappings else value
    return merged


def start_crud_service(log_directory: Path, *, port: int | None = None) -> tuple[Child, str]:
    """Start the demo's backend; returns it and its base URL. The caller stops it."""
    port = port or free_port()
    base_url = f"http://127.0.0.1:{port}"
    child = start_server(
        "crud_service",
        build_backend_command(port),
        log_path=log_directory / f"crud-{port}.log",
        ready=lambda _: is_answering(f"{base_url}/health", status=200),
        environment=minimal_environment(),
        directory=PROJECT,
    )
    return child, base_url


@dataclass(slots=True)
class Stack:
    """Everything that a login and a call go through, all of it real."""

    op: RealOp
    client: OpClient
    backend_url: str
    bff: Bff
    log_directory: Path
    _browsers: list[BrowserClient] = field(default_factory=list)

    def open_browser(self) -> BrowserClient:
        """A new browser profile, closed when the stack ends; its cookies count among the secrets."""
        browser = BrowserClient(self.bff.origin)
        self._browsers.append(browser)
        return browser

    def log_in(self, user: str = "alice") -> BrowserClient:
        browser = self.open_browser()
        browser.log_in(user)
        return browser

    def secrets(self) -> set[str]:
        """Every value so far that no log may hold: all that passed the provider, all cookies, keys and secrets."""
        of_browsers = {secret for browser in self._browsers for secret in browser.secrets}
        return {*self.op.secrets(), *of_browsers, self.client.client_secret}

    def find_leaks(self) -> list[str]:
        """Every secret of this stack that stands in one of its logs, as sentences that do not repeat it."""
        directories = (self.bff.directory / "logs", self.log_directory)
        logs = sorted(path for directory in directories for path in directory.glob("*.log") if "op-" not in path.name)
        return find_leaks(logs, self.secrets())

    def close(self) -> None:
        for browser in self._browsers:
            browser.http.close()


@pytest.fixture(scope="session")
def stack_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack for the run; tests take `stack`."""
    directory = tmp_path_factory.mktemp("stack")
    with ExitStack() as parts:
        op = start_op(directory)
        parts.callback(op.stop)
        crud, backend_url = start_crud_service(directory)
        parts.callback(crud.stop)
        port = free_port()
        client = op.register_client(f"http://localhost:{port}")
        bff = start_bff(directory / "bff", issuer=op.issuer, client=client, backend_url=backend_url, port=port)
        parts.callback(bff.stop)
        started = Stack(op, client, backend_url, bff, directory)
        parts.callback(started.close)
        yield started
        leaks = started.find_leaks()
        assert not leaks, f"secrets in the logs of the whole run: {leaks}"


@pytest.fixture
def stack(stack_process: Stack) -> Stack:
    """The run's stack with no fault left from an earlier test."""
    stack_process.op.clear_faults()
    return stack_process
