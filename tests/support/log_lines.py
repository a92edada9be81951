"""What a BFF has written to its log.

A thread of the worker writes, a moment after what a line tells of: a test that has seen the one still waits for the
other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.processes import wait_until


def read_lines(logs: Iterable[Path], **wanted: object) -> list[dict[str, Any]]:
    """The lines so far, log after log, that have these fields with these values."""
    found: list[dict[str, Any]] = []
    for log in logs:
        whole, _, _ = log.read_text(encoding="utf-8", errors="replace").rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        found += [line for line in lines if wanted.items() <= line.items()]
    return found


def wait_for_lines(logs: Iterable[Path], *, count: int = 1, **wanted: object) -> list[dict[str, Any]]:
    """Waits until there are `count` such lines at least, and returns them all."""
    logs = list(logs)
    wait_until(
        lambda: len(read_lines(logs, **wanted)) >= count, timeout_seconds=30, what=f"{count} lines with {wanted}"
    )
    return read_lines(logs, **wanted)
