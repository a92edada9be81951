"""Cerbos as a decision point: a real one, with the demo's policies or with a test's own.

Fixture `cerbos` is one for the whole run, with the demo's policies. A test that stops it or changes its policies starts
one of its own with `start_cerbos`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.cerbos import POLICIES, build_cerbos_command, build_cerbos_environment, find_cerbos
from tests.support.processes import Child, free_port, is_answering, minimal_environment, start_server


@dataclass(slots=True)
class RealPdp:
    """One running Cerbos."""

    child: Child
    port: int
    socket_directory: tempfile.TemporaryDirectory[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.child.stop()
        self.socket_directory.cleanup()


def start_cerbos(log_directory: Path, *, policies: Path = POLICIES, port: int | None = None) -> RealPdp:
    """Start Cerbos; it follows changes in the folder `policies`. The caller stops it."""
    program = find_cerbos()
    if program is None:
        pytest.fail("The real decision point needs Cerbos: run `make setup`.", pytrace=False)
    port = port or free_port()
    socket_directory = tempfile.TemporaryDirectory(prefix="cerbos-")  # a socket's path is short
    variables = build_cerbos_environment(port, Path(socket_directory.name) / "socket", policies)
    child = start_server(
        "cerbos",
        build_cerbos_command(program),
        log_path=log_directory / f"cerbos-{port}.log",
        ready=lambda _: is_answering(f"http://127.0.0.1:{port}/_cerbos/health", status=200),
        environment=minimal_environment(**variables),
    )
    return RealPdp(child, port, socket_directory)


@pytest.fixture(scope="session")
def cerbos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPdp]:
    """One decision point for the run, with the demo's policies."""
    started = start_cerbos(tmp_path_factory.mktemp("cerbos"))
    yield started
    started.stop()
