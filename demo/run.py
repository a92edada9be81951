"""Starts the whole product on this machine: an OpenID Provider, a policy decision point, a backend, and the BFF in
front of them, which serves the built application of `frontend/apps/demo` too.

`make demo` runs this. It stops everything again on Ctrl-C, on SIGTERM, and when a part fails to start or ends.
Ports are taken from DEMO_PORT, DEMO_IDP_PORT, DEMO_PDP_PORT, DEMO_BACKEND_PORT and DEMO_INTERNAL_PORT; logs go to
DEMO_LOGS, which is var/demo unless it is set.
"""

from __future__ import annotations

import http.client
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, MappingProxyType

from demo.cerbos import build_cerbos_command, build_cerbos_environment, find_cerbos
from demo.processes import Child, ChildFailedError, start_child

PROJECT = Path(__file__).parents[1]
FRONTEND = PROJECT / "frontend" / "apps" / "demo" / "dist"
LOGS = Path(os.environ.get("DEMO_LOGS") or PROJECT / "var" / "demo")
WATCH_SECONDS = 0.2
EDITORS = ("alice", "carol")


class DemoCannotStartError(RuntimeError):
    """Something on this machine is in the way; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, all of it on loopback."""

    bff: int
    idp: int
    pdp: int
    backend: int
    internal: int


_VARIABLES = {"bff": ("DEMO_PORT", 8000), "idp": ("DEMO_IDP_PORT", 9400), "pdp": ("DEMO_PDP_PORT", 3592)}
_VARIABLES |= {"backend": ("DEMO_BACKEND_PORT", 9500), "internal": ("DEMO_INTERNAL_PORT", 9000)}


def main() -> int:
    return run_until_stopped(start)


@contextmanager
def start() -> Iterator[list[Child]]:
    """Everything started and answering; stopped at the end."""
    ports = choose_ports()
    require_node()
    require_cerbos()
    require_frontend()
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bff-demo-")))
        children = start_everything(ports, state, stack)
        print_welcome(ports)
        yield children


def run_until_stopped(start_parts: Callable[[], AbstractContextManager[list[Child]]]) -> int:
    """Runs the parts until a signal comes, or until one of them fails to start or ends; returns the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with start_parts() as children:
            watch(children)
    except (DemoCannotStartError, ChildFailedError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo has stopped.")
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Once is enough: a second Ctrl-C must not cut the stopping short and leave a child behind.
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def choose_ports() -> Ports:
    """The five ports, all free; every taken one is named at once."""
    chosen, faults = {}, []
    for name, (variable, default) in _VARIABLES.items():
        try:
            chosen[name] = choose_port(variable, default)
        except DemoCannotStartError as fault:
            faults.append(str(fault))
    if not faults and len(set(chosen.values())) < len(chosen):
        faults.append(f"Each part needs a port of its own, but the ports are {sorted(chosen.values())}.")
    if faults:
        raise DemoCannotStartError("\n".join(faults))
    return Ports(**chosen)


def choose_port(variable: str, default: int) -> int:
    """The port that an environment variable names, if it is free."""
    raw = os.environ.get(variable) or str(default)
    if not raw.isdigit() or not 0 < int(raw) < 65536:
        raise DemoCannotStartError(f"{variable} is {raw!r}; it has to be a port number.")
    if not is_free(int(raw)):
        another = f"Choose another one: make demo {variable}={suggest_port(int(raw))}"
        raise DemoCannotStartError(f"Port {raw} is taken. {another}")
    return int(raw)


def suggest_port(taken: int) -> int:
    """The next free port above one that is taken, clear of the other defaults."""
    above = range(taken + 11, 65536)
    return next((port for port in above if is_free(port)), 1024)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of an earlier run that the kernel still remembers do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def require_node() -> Path:
    """Where Node is; without it, or without the provider's packages, a sentence says what to do."""
    node = shutil.which("node")
    if node is None:
        raise DemoCannotStartError(
            "Node is missing: the demo's OpenID Provider needs it. `make setup` installs it or says how."
        )
    if not (PROJECT / "demo" / "idp" / "node_modules" / "oidc-provider").is_dir():
        raise DemoCannotStartError("The OpenID Provider's packages are missing: run `make setup`.")
    return Path(node)


def require_cerbos() -> Path:
    """Where Cerbos is; without it a sentence says what to do."""
    cerbos = find_cerbos()
    if cerbos is None:
        raise DemoCannotStartError(
            "Cerbos, the demo's decision point, is missing: run `make setup`. Its npm package is for Linux on x86-64; "
            "on another machine install the program `cerbos` from https://cerbos.dev so that it is on the PATH."
        )
    return cerbos


def require_frontend() -> Path:
    """The built application; without it a sentence says what to do."""
    if not (FRONTEND / "index.html").is_file():
        raise DemoCannotStartError("The demo's application is not built: run `make setup`.")
    return FRONTEND


def start_everything(ports: Ports, state: Path, stack: ExitStack) -> list[Child]:
    """Start the parts and wait for each; whatever was started is stopped when `stack` closes.

    The BFF comes last: it would start without the provider too, but then try it again only seconds later.
    """
    initial_access_token = secrets.token_urlsafe(32)
    idp = start_idp(ports, initial_access_token)
    stack.callback(idp.stop)
    pdp = start_pdp(ports, state)
    stack.callback(pdp.stop)
    backend = start_backend(ports)
    stack.callback(backend.stop)
    wait_for(idp, ports.idp, "/.well-known/openid-configuration")
    bff = start_bff(ports, state, initial_access_token)
    stack.callback(bff.stop)
    wait_for(backend, ports.backend, "/health")
    wait_for(pdp, ports.pdp, "/_cerbos/health")
    wait_for(bff, ports.bff, "/health/ready", expected=b'"client":"ok"')
    return [idp, pdp, backend, bff]


def wait_for(child: Child, port: int, path: str, *, expected: bytes = b"") -> None:
    print(f"  waiting: {child.name} …", flush=True)
    child.wait_until(lambda: answers_ok(port, path, expected), timeout_seconds=60, what="an answer")


def start_idp(ports: Ports, initial_access_token: str) -> Child:
    """The provider knows no client: the BFF registers itself with the token."""
    return start_child(
        "OpenID Provider",
        [require_node(), "op.mjs"],
        log_path=fresh_log("idp"),
        environment={
            **os.environ,
            "OP_PORT": str(ports.idp),
            "OP_IAT": initial_access_token,
            "OP_EDITORS": " ".join(EDITORS),
        },
        directory=PROJECT / "demo" / "idp",
    )


def start_pdp(ports: Ports, state: Path) -> Child:
    return start_child(
        "decision point",
        build_cerbos_command(require_cerbos()),
        log_path=fresh_log("pdp"),
        environment={**os.environ, **build_cerbos_environment(ports.pdp, state / "cerbos.sock")},
        directory=PROJECT,
    )


def start_backend(ports: Ports) -> Child:
    return start_child(
        "backend",
        build_backend_command(ports.backend),
        log_path=fresh_log("backend"),
        environment=dict(os.environ),
        directory=PROJECT,
    )


def build_backend_command(port: int) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "-c", "demo/crud_service_gunicorn.py", "--bind", f"127.0.0.1:{port}"]


def start_bff(
    ports: Ports,
    state: Path,
    initial_access_token: str,
    *,
    name: str = "bff",
    changes: Mapping[str, str] = MappingProxyType({}),
) -> Child:
    settings = {
        "BFF_CONFIG_DIR": str(PROJECT / "demo" / "config"),
        "DEMO_PUBLIC_URL": f"http://localhost:{ports.bff}",
        "DEMO_INTERNAL_BIND": f"127.0.0.1:{ports.internal}",
        "DEMO_ISSUER": f"http://127.0.0.1:{ports.idp}",
        "DEMO_PDP_URL": f"http://127.0.0.1:{ports.pdp}",
        "DEMO_BACKEND_URL": f"http://127.0.0.1:{ports.backend}",
        "DEMO_STATE": str(state),
        "DEMO_FRONTEND": str(FRONTEND),
        **changes,
    }
    environment = {
        **os.environ,
        "BFF_BIND": f"127.0.0.1:{ports.bff}",
        "WEB_CONCURRENCY": os.environ.get("WEB_CONCURRENCY", "2"),
        "DCR_IAT": initial_access_token,
        **settings,
    }
    child = start_child(
        "BFF",
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        log_path=fresh_log(name),
        environment=environment,
        directory=PROJECT,
    )
    write_environment(LOGS / f"{name}.env", settings)
    return child


def write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """For a shell that is to run commands (`bff sessions list`) on what this BFF works on. Holds no secret."""
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
    path.write_text("".join(lines), encoding="utf-8")


def fresh_log(name: str) -> Path:
    path = LOGS / f"{name}.log"
    path.unlink(missing_ok=True)
    return path


def answers_ok(port: int, path: str, expected: bytes) -> bool:
    """Whether the answer is 200 and holds what is expected."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}"})
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and expected in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def print_welcome(ports: Ports) -> None:
    print(
        f"""
The demo runs.

  Open        http://localhost:{ports.bff}/
  Log in as   alice or carol, who edit forms and delete their own, or as bob or any other name, who only reads;
              with any password
  Metrics     http://127.0.0.1:{ports.internal}/metrics
  Logs        {os.path.relpath(LOGS)}/bff.log, idp.log, pdp.log, backend.log
  Commands    in another terminal: . {os.path.relpath(LOGS)}/bff.env; .venv/bin/bff doctor

Ctrl-C stops everything.""",
        flush=True,
    )


def watch(children: Iterable[Child]) -> None:
    """Return never: a part that ends takes the demo with it, a signal raises."""
    while True:
        for child in children:
            child.require_running()
        time.sleep(WATCH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
