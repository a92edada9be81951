"""`make demo` as a test starts it: everything on ports of its own, logs below the test's directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Child, free_port, minimal_environment, start_server

PROJECT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "demo.run"]
PORTS = ("DEMO_PORT", "DEMO_IDP_PORT", "DEMO_PDP_PORT", "DEMO_BACKEND_PORT", "DEMO_INTERNAL_PORT")


def build_demo_environment(ports: dict[str, int], directory: Path, **more: str) -> dict[str, str]:
    chosen = {name: str(port) for name, port in ports.items()}
    return minimal_environment(**chosen, DEMO_LOGS=str(directory / "logs"), PYTHONUNBUFFERED="1", **more)


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in PORTS}


@pytest.fixture
def demo(ports: dict[str, int], tmp_path: Path) -> Iterator[Child]:
    child = start_server(
        "demo",
        COMMAND,
        log_path=tmp_path / "demo.log",
        ready=lambda started: "The demo runs." in started.read_log(),
        environment=build_demo_environment(ports, tmp_path),
        directory=PROJECT,
        timeout_seconds=60,
    )
    yield child
    child.stop()
