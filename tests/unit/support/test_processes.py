"""Servers started for a test are ended, and say why when they do not start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demo.processes import ChildFailedError, wait_until
from tests.support.processes import minimal_environment, start_server

PARENT = """
import subprocess, sys, time
print("child", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_stopping_a_server_ends_what_it_started_itself(tmp_path: Path) -> None:
    server = start_server(
        "parent",
        [sys.executable, "-c", PARENT],
        log_path=tmp_path / "log",
        ready=lambda child: "child" in child.read_log(),
    )
    grandchild = int(server.read_log().split()[1])
    assert is_alive(grandchild)
    server.stop()
    wait_until(lambda: not is_alive(grandchild), timeout_seconds=10, what="the end of the grandchild")


def test_a_server_that_ends_at_once_tells_its_log(tmp_path: Path) -> None:
    with pytest.raises(ChildFailedError, match=r"(?s)ended with status 3\n.*the port is taken"):
        start_server(
            "server",
            [sys.executable, "-c", "print('the port is taken', flush=True); raise SystemExit(3)"],
            log_path=tmp_path / "log",
            ready=lambda _: False,
            environment=minimal_environment(),
        )
