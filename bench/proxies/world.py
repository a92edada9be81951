"""Starts everything that a run needs, and stops it again."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.proxies import others
from bench.proxies.contestant import Contestant
from bench.proxies.machine import Cores
from bench.proxies.others import Backend
from bench.proxies.ours import Setup, World, start_ours
from tests.support.processes import Child, free_port, start_server
from tests.support.real_op import start_op
from tests.support.real_pdp import start_cerbos
from tests.support.redis_servers import running_redis

WORKER_REDIS = Setup("worker-redis", "BFF, worker door, sessions in Redis")
WORKER_DIRECTORY = Setup("worker-directory", "BFF, worker door, sessions in a directory", uses_redis=False)
WSGI_REDIS = Setup("wsgi-redis", "BFF, WSGI door (gunicorn's gevent worker), sessions in Redis", worker_class="gevent")
SETUPS = (WORKER_REDIS, WORKER_DIRECTORY, WSGI_REDIS)


@contextmanager
def open_world(directory: Path, cores: Cores) -> Iterator[World]:
    with ExitStack() as parts:
        backend = Backend(directory / "backend", cores)
        parts.callback(lambda: backend.child.stop())  # whichever runs by then
        events, events_port = start_own_backend("streams", directory, cores)
        parts.callback(events.stop)
        echo, echo_port = start_own_backend("echo", directory, cores)
        parts.callback(echo.stop)
        op = start_op(directory)
        parts.callback(op.stop)
        pdp = start_cerbos(directory)
        parts.callback(pdp.stop)
        redis = parts.enter_context(running_redis(directory))
        yield World(directory, backend, events_port, events.pid, echo_port, echo.pid, op, pdp.url, redis, cores)


def start_own_backend(module: str, directory: Path, cores: Cores) -> tuple[Child, int]:
    """For what nginx cannot do as a backend; returns its port, too."""
    port = free_port()
    child = start_server(
        module,
        cores.pin_other([sys.executable, "-m", f"bench.proxies.{module}", "serve", str(port)]),
        log_path=directory / f"{module}.log",
        ready=lambda _: is_listening(port),
        directory=Path(__file__).parents[2],
    )
    return child, port


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def open_contestants(directory: Path, world: World, names: Sequence[str] = ()) -> Iterator[list[Contestant]]:
    """All of them that can run here, or those named; each has its own folder."""
    backend, op, cores, redis = world.backend, world.op, world.cores, world.redis
    starts: dict[str, Callable[[Path], Contestant]] = {
        "nginx": lambda folder: others.start_nginx(folder, backend, cores, world.events_port, world.echo_port),
        **{setup.name: partial(start_ours, world=world, setup=setup) for setup in SETUPS},
        "apache-shm": lambda folder: others.start_apache(folder, backend, op, cores),
        "apache-redis": lambda folder: others.start_apache(folder, backend, op, cores, redis=redis),
        "flask": lambda folder: others.start_typical(folder, backend, cores, redis, sys.executable),
    }
    if others.has_oauth2_proxy():
        starts["oauth2-proxy"] = lambda folder: others.start_oauth2_proxy(folder, backend, op, cores, redis)
    with ExitStack() as parts:
        started = []
        for name, start in starts.items():
            if names and name not in names:
                continue
            contestant = start(directory / name)
            parts.callback(contestant.stop)
            started.append(contestant)
        yield started
