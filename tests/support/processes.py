"""Real servers for tests: free ports, readiness by condition, an end by process id, logs kept for reading.

with running("op", ["node", "op.mjs"], log_path=..., ready=lambda: is_answering(url)) as child:
    ...
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from demo.processes import Child, ChildFailedError, start_child, wait_until

__all__ = ["Child", "ChildFailedError", "free_port", "is_answering", "minimal_environment", "running", "start_server"]
__all__ += ["wait_until"]

# Below the kernel's range for outgoing connections (32768 and up), so that no connection of another test takes a port
# between its choice here and the moment the server listens on it; the server can also be started again on it. Processes
# that share the work (pytest-xdist) choose from different ports.
_SHARERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(15000 + _SHARER, 32000, _SHARERS)
_chosen: set[int] = set()


def free_port() -> int:
    """A loopback port that nothing listens on and that this test run has not given out before."""
    for port in random.sample(_PORTS, 200):
        if port in _chosen:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _chosen.add(port)
        return port
    raise RuntimeError("no free port below the range for outgoing connections")


def minimal_environment(**more: str) -> dict[str, str]:
    """An environment that a developer's own settings cannot reach into, proxies and BFF_* included."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, **more}


def is_answering(url: str, *, status: int | None = None) -> bool:
    """Whether `url` answers at all, or with `status`."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(url, timeout=2, allow_redirects=False)
        except requests.RequestException:
            return False
    return status is None or answer.status_code == status


def start_server(
    name: str,
    command: Sequence[str | Path],
    *,
    log_path: Path,
    ready: Callable[[Child], bool],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    timeout_seconds: float = 30,
) -> Child:
    """Start a server and return once it is ready; on failure nothing stays running and the error holds its log."""
    variables = minimal_environment() if environment is None else environment
    child = start_child(name, command, log_path=log_path, environment=variables, directory=directory)
    try:
        child.wait_until(lambda: ready(child), timeout_seconds=timeout_seconds, what="ready to answer")
    except BaseException:
        child.kill()
        raise
    return child


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    *,
    log_path: Path,
    ready: Callable[[Child], bool],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Iterator[Child]:
    """A server that runs as long as the block does."""
    child = start_server(name, command, log_path=log_path, ready=ready, environment=environment, directory=directory)
    try:
        yield child
    finally:
        child.stop()
