"""The demo's whole topology on this machine: Traefik in front of two BFFs that share one Redis.

`make demo-traefik` runs this. It is `make demo` (same provider, decision point, backend and configuration) with what
production adds: an edge with the files of deploy/traefik, sessions and keys in Redis, and a second host that knows
nothing of logins and is opened by ForwardAuth. Traefik listens on DEMO_PORT, the provider on DEMO_IDP_PORT, the rest on
whatever is free.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from demo.edge import Edge, build_edge_command, find_traefik, write_edge_configuration
from demo.processes import Child, start_child
from demo.run import (
    LOGS,
    PROJECT,
    DemoCannotStartError,
    Ports,
    choose_port,
    fresh_log,
    run_until_stopped,
    start_backend,
    start_bff,
    start_idp,
    start_pdp,
    wait_for,
)

TOOLS_HOST = "tools.localhost"
BFFS = 2


def main() -> int:
    return run_until_stopped(start)


@contextmanager
def start() -> Iterator[list[Child]]:
    """Everything started and answering, stopped in the reverse order at the end.

    Yields the parts without which there is no demo; of the BFFs, any one may end.
    """
    traefik, redis = require_traefik(), require_redis()
    port, idp_port = choose_port("DEMO_PORT", 8080), choose_port("DEMO_IDP_PORT", 9400)
    with ExitStack() as stack:
        state = make_state(stack)
        initial_access_token = secrets.token_urlsafe(32)
        ports = [
            Ports(bff=pick_port(), idp=idp_port, pdp=pick_port(), backend=pick_port(), internal=pick_port())
            for _ in range(BFFS)
        ]
        ports = [Ports(each.bff, idp_port, ports[0].pdp, ports[0].backend, each.internal) for each in ports]
        redis_port = pick_port()
        children = [
            start_idp(ports[0], initial_access_token),
            start_pdp(ports[0], state),
            start_backend(ports[0]),
            start_redis(redis, redis_port, state),
        ]
        for child in children:
            stack.callback(child.stop)
        wait_for(children[0], idp_port, "/.well-known/openid-configuration")
        settings = build_settings(port, redis_port, state)
        configuration = write_configuration(state)
        for number, each in enumerate(ports, start=1):
            changes = {**settings, "BFF_CONFIG_DIR": str(configuration)}
            bff = start_bff(each, state, initial_access_token, name=f"bff-{number}", changes=changes)
            stack.callback(bff.stop)
            wait_for(bff, each.bff, "/health/ready", expected=b'"client":"ok"')
        wait_for(children[2], ports[0].backend, "/health")
        wait_for(children[1], ports[0].pdp, "/_cerbos/health")
        edge = Edge(
            port=port,
            internal_port=pick_port(),
            bff_url=f"http://127.0.0.1:{ports[0].bff}",
            more_bff_urls=[f"http://127.0.0.1:{each.bff}" for each in ports[1:]],
            spa_url=f"http://127.0.0.1:{ports[0].bff}",
            more_spa_urls=[f"http://127.0.0.1:{each.bff}" for each in ports[1:]],
            tools_url=f"http://127.0.0.1:{ports[0].backend}",
            tools_host=TOOLS_HOST,
        )
        children.append(start_edge(traefik, edge, state))
        stack.callback(children[-1].stop)
        wait_for(children[-1], port, "/")
        print_welcome(port, ports)
        yield children


def require_traefik() -> Path:
    found = find_traefik()
    if found is None:
        raise DemoCannotStartError("Traefik is missing: run `make setup`.")
    return found


def require_redis() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        raise DemoCannotStartError("redis-server is missing: `make setup` installs it or says how.")
    return Path(found)


def make_state(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bff-demo-")))


def pick_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def build_settings(port: int, redis_port: int, state: Path) -> dict[str, str]:
    """What production adds to the demo's settings, as environment variables."""
    key_file = state / "data.key"
    key_file.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    key_file.chmod(0o600)
    return {
        "DEMO_PUBLIC_URL": f"http://localhost:{port}",
        "BFF_SERVER__ALLOWED_HOSTS": f'["http://{TOOLS_HOST}:{port}"]',
        "BFF_SERVER__TRUSTED_PROXIES": '["127.0.0.1/32"]',
        "BFF_SESSION__STORE": "redis",
        "BFF_SESSION__REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "BFF_KEYS__STORE": "redis",
        "BFF_TOKENS__DATA_KEY_FILE": str(key_file),
    }


def write_configuration(state: Path) -> Path:
    """The demo's configuration, and the second host that ForwardAuth opens to whoever is logged in."""
    directory = state / "config"
    shutil.copytree(PROJECT / "demo" / "config", directory)
    routes = directory / "routes.yaml"
    entry = {"host": TOOLS_HOST, "path": "/*", "authz": "none", "login_redirect": True}
    added = yaml.safe_dump({"forward_auth": [entry]})
    routes.write_text(f"{routes.read_text(encoding='utf-8')}\n{added}", encoding="utf-8")
    return directory


def start_redis(redis: Path, port: int, state: Path) -> Child:
    return start_child(
        "Redis",
        [redis, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", state],
        log_path=fresh_log("redis"),
        environment=dict(os.environ),
    )


def start_edge(traefik: Path, edge: Edge, state: Path) -> Child:
    static_file = write_edge_configuration(state / "traefik", edge)
    return start_child(
        "Traefik",
        build_edge_command(traefik, static_file),
        log_path=fresh_log("traefik"),
        environment=dict(os.environ),
    )


def print_welcome(port: int, ports: list[Ports]) -> None:
    print(
        f"""
The demo runs behind Traefik.

  Open        http://localhost:{port}/
  Protected   http://{TOOLS_HOST}:{port}/whoami, an application without a login of its own
  Log in as   alice, carol or bob, with any password
  BFFs        {", ".join(f"http://127.0.0.1:{each.bff}" for each in ports)}; end one and the other goes on
  Logs        {os.path.relpath(LOGS)}/bff-1.log, bff-2.log, traefik.log, redis.log, idp.log, pdp.log, backend.log
  Commands    in another terminal: . {os.path.relpath(LOGS)}/bff-1.env; .venv/bin/bff doctor

Ctrl-C stops everything.""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
