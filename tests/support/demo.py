"""`make demo` as a test starts it: everything on ports of its own, logs below the test's directory."""

from __future__ import annotations

import os
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


def descendants_of(pid: int) -> set[int]:
    """All that it has started, and what those have started in their turn."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text(encoding="ascii").split():
            found |= {int(child)} | descendants_of(int(child))
    return found


def is_running(pid: int) -> bool:
    """False for one that has ended and is not waited for yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"


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
