"""Cores, and what a process tree costs on them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the proxy under test, another one for everything else."""

    proxy: int
    others: int

    @classmethod
    def choose(cls) -> Cores:
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise SystemExit("The benchmark needs two cores: one for the proxy, one for load and backend.")
        return cls(proxy=allowed[-1], others=allowed[0])

    def pin_proxy(self, command: Sequence[str]) -> list[str]:
        return ["taskset", "-c", str(self.proxy), *command]

    def pin_other(self, command: Sequence[str]) -> list[str]:
        return ["taskset", "-c", str(self.others), *command]


def list_tree(pid: int) -> list[int]:
    """`pid` and everything below it that lives."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        for listed in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in listed.read_text(encoding="ascii").split()]
            except OSError:
                continue
    return found


def read_cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these process trees so far."""
    ticks = 0
    for pid in pids:
        for member in list_tree(pid):
            try:
                fields = Path(f"/proc/{member}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def read_memory_bytes(pids: Iterable[int]) -> int:
    """Proportional set size of these process trees: what is shared among them counts once."""
    total = 0
    for pid in pids:
        for member in list_tree(pid):
            try:
                lines = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="ascii").splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def count_sockets(pids: Iterable[int]) -> int:
    """Open sockets of these process trees."""
    links = (link for pid in pids for member in list_tree(pid) for link in Path(f"/proc/{member}/fd").glob("*"))
    return sum(1 for link in links if _read_link(link).startswith("socket:"))


def _read_link(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
