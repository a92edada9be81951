"""Load by wrk, or by connections that are opened once and held, and what the proxy spent on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.proxies.contestant import Contestant
from bench.proxies.machine import Cores, read_cpu_seconds, read_memory_bytes

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of call."""

    name: str
    path: str
    method: str = "GET"
    body_bytes: int = 0
    connections: int = 16
    delay_ms: int = 0
    """Mean pause of a connection between two calls; 0: none, the proxy is the limit."""
    may_fail: bool = False
    """Whether it is a finding when not a single call succeeds, and no reason to stop."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of one workload gave. Times in microseconds."""

    calls: int
    seconds: float
    bytes: int
    cpu_seconds: float
    p50: int
    p99: int
    p999: int
    longest: int
    broken: int
    """Connections that could not be made, broke, or stood still."""
    refused: int
    """Answers above 399."""
    memory_bytes: int

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds

    @property
    def cpu_per_call(self) -> float:
        return self.cpu_seconds / self.calls * 1e6 if self.calls else float("nan")

    def as_json(self) -> dict[str, float]:
        return {**asdict(self), "calls_per_second": self.calls_per_second, "cpu_us_per_call": self.cpu_per_call}


def run_round(contestant: Contestant, workload: Workload, seconds: int, cores: Cores) -> Round:
    """Raises `SystemExit` when not a single call succeeded and that may not be: such figures would mean nothing."""
    environment = {
        **os.environ,
        "BENCH_CALLERS": str(contestant.callers_file),
        "BENCH_METHOD": workload.method,
        "BENCH_BODY_BYTES": str(workload.body_bytes),
        "BENCH_DELAY_MS": str(workload.delay_ms),
    }
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    before = read_cpu_seconds(contestant.pids)
    done = subprocess.run(
        cores.pin_other([*command, f"http://{contestant.address}{workload.path}"]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    spent = read_cpu_seconds(contestant.pids) - before
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), "")
    if not line:
        raise SystemExit(f"wrk failed at {contestant.name}, {workload.name}: {done.stdout}{done.stderr}")
    found = json.loads(line.removeprefix("RESULT "))
    if found["calls"] <= found["refused"] and not workload.may_fail:
        raise SystemExit(f"{contestant.name} answered no call of {workload.name}: {found}")
    return Round(
        calls=found["calls"],
        seconds=found["microseconds"] / 1e6,
        bytes=found["bytes"],
        cpu_seconds=spent,
        memory_bytes=read_memory_bytes(contestant.pids),
        **{name: found[name] for name in ("p50", "p99", "p999", "longest", "broken", "refused")},
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What connections cost that are opened first and used afterwards."""

    memory_bytes: int
    """What the proxy grew by while they were opened."""
    cpu_seconds: float
    """While they were used."""
    found: dict[str, Any]
    """What their program says."""


def run_held(contestant: Contestant, program: Sequence[str], count: int, seconds: float, cores: Cores) -> Held:
    """`program` is a module and its command. It prints READY, opens its connections, prints OPEN, uses them, prints one
    line of JSON, and holds them until it is killed; each step waits for a line.

    What the proxy shares with a program of ours (Python itself) counts half as soon as that runs, hence READY.
    """
    words = [sys.executable, "-m", *program, str(contestant.port), str(count), str(seconds)]
    words.append(str(contestant.callers_file))
    with subprocess.Popen(cores.pin_other(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdout.readline()
            before = read_memory_bytes(contestant.pids)
            print(file=child.stdin, flush=True)
            if child.stdout.readline().strip() != "OPEN":
                raise SystemExit(f"{contestant.name} did not open {count} connections")
            memory = read_memory_bytes(contestant.pids)
            cpu = read_cpu_seconds(contestant.pids)
            print(file=child.stdin, flush=True)
            found = json.loads(child.stdout.readline())
            cpu = read_cpu_seconds(contestant.pids) - cpu
        finally:
            child.kill()
    return Held(memory - before, cpu, found)
