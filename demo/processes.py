"""Starts and stops child processes so that none outlives the program that started it.

The demo's runner and the tests' real servers both stand on this. A child writes to a log file, is ready when a
condition holds (never after a fixed time), is ended by its own process id, and is told by the kernel to end when its
parent dies, so that even a parent ended by SIGKILL leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02
PR_SET_PDEATHSIG = 1  # prctl(2): the signal this process gets when its parent ends

_libc = ctypes.CDLL(None, use_errno=True)


class ChildFailedError(RuntimeError):
    """A child ended, or did not become ready in time; the message holds the end of its log."""


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, what: str) -> None:
    """Return as soon as `condition` holds; raise TimeoutError naming `what` when it never does."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_seconds:g} s for {what}")
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Child:
    """One running child process and where it writes."""

    name: str
    popen: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def read_log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, condition: Callable[[], bool], *, timeout_seconds: float, what: str) -> None:
        """Like the function of this name, but gives up at once, with the log, when the child has ended."""

        def holds_or_ended() -> bool:
            return not self.is_running() or condition()

        try:
            wait_until(holds_or_ended, timeout_seconds=timeout_seconds, what=f"{self.name}: {what}")
        except TimeoutError as error:
            raise ChildFailedError(f"{error}\n{self._log_end()}") from error
        self.require_running()

    def require_running(self) -> None:
        """Raise ChildFailedError, with the end of its log, when the child has ended."""
        if not self.is_running():
            raise ChildFailedError(f"{self.name} ended with status {self.popen.returncode}\n{self._log_end()}")

    def stop(self, *, timeout_seconds: float = 15) -> int:
        """End the child with SIGTERM, with SIGKILL when that is not heeded in time; return its exit status."""
        if self.is_running():
            self.popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout_seconds)
        return self.kill()

    def kill(self) -> int:
        """End the child and whatever it has started itself with SIGKILL; return its exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # start_child made it the leader of a group of its own
        return self.popen.wait()

    def _log_end(self, lines: int = 25) -> str:
        return "\n".join(["--- end of its log:", *self.read_log().splitlines()[-lines:]])


def start_child(
    name: str,
    command: Sequence[str | Path],
    *,
    log_path: Path,
    environment: Mapping[str, str],
    directory: Path | None = None,
) -> Child:
    """Start `command` with its output appended to `log_path`; the caller stops it.

    The child gets a session of its own, so that a Ctrl-C at the terminal reaches only the parent, which then stops its
    children in order.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    return Child(name=name, popen=popen, log_path=log_path)


def _end_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
