"""What is measured. Rounds of the contestants take turns, so that a busy moment of the machine meets them all alike."""

from __future__ import annotations

import statistics
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.proxies.contestant import JSON_PATH, OPEN_PATH, Caller, Contestant, write_callers
from bench.proxies.echo import Talk, measure_talk
from bench.proxies.idle_connections import held_connections
from bench.proxies.load import Round, Workload, run_round
from bench.proxies.machine import Cores, read_cpu_seconds, read_memory_bytes
from bench.proxies.others import start_nginx
from bench.proxies.ours import Setup, World, start_ours
from bench.proxies.streams import FanOut, measure_fan_out

Found = dict[str, Any]
FILES = "/api/crud/files/"
GIB = 1024**3
FLAT_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    rounds: int = 5
    seconds: int = 3
    streams: int = 2_000
    stream_seconds: float = 5
    websockets: int = 100
    routes: int = 10_000
    sessions: int = 100_000
    idle_connections: int = 2_000
    most_connections: int = 1_024

    @classmethod
    def quick(cls) -> Plan:
        return cls(
            rounds=1,
            seconds=1,
            streams=100,
            stream_seconds=1,
            websockets=20,
            routes=500,
            sessions=1_000,
            idle_connections=200,
            most_connections=64,
        )

    def as_json(self) -> Found:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of a table: a contestant and how it is called."""

    name: str
    contestant: Contestant
    workload: Workload
    lead_in_seconds: int = 0
    """Called for so long before each round, unmeasured: while the others had their turns, what is in use grows old."""


def measure_calls(plan: Plan, contestants: Sequence[Contestant], *_: object) -> Found:
    """Small JSON as fast as it goes; the BFF with and without a question to the decision point."""
    asked = [Variant(each.name, each, Workload("json", JSON_PATH)) for each in contestants]
    ours = [each for each in contestants if is_ours(each)]
    return run_rounds(
        plan, asked + [Variant(f"{each.name}, no PDP", each, Workload("json", OPEN_PATH)) for each in ours]
    )


def measure_same_rate(plan: Plan, contestants: Sequence[Contestant], *_: object) -> Found:
    """Small JSON, 400 calls a second for everybody: what a call waits when nobody is at the limit. Of so few calls a
    longer round is needed to tell how long the slowest wait."""
    workload = Workload("json, 400/s", JSON_PATH, connections=20, delay_ms=50)
    variants = [Variant(each.name, each, workload, lead_in_seconds=1) for each in contestants]
    return run_rounds(replace(plan, seconds=3 * plan.seconds), variants)


def measure_uploads(plan: Plan, contestants: Sequence[Contestant], *_: object) -> Found:
    workload = Workload("POST 64 KiB", "/api/crud/upload", method="POST", body_bytes=65536)
    return run_rounds(plan, [Variant(each.name, each, workload) for each in contestants])


def measure_files(plan: Plan, contestants: Sequence[Contestant], *_: object) -> Found:
    workload = Workload("1 MiB", f"{FILES}1m", connections=4)
    return run_rounds(plan, [Variant(each.name, each, workload) for each in contestants])


def measure_saturation(plan: Plan, contestants: Sequence[Contestant], *_: object) -> Found:
    """More and more callers at once: calls a second should hold, and nobody may be cut."""
    counts = [count for count in (16, 64, 256, 1024) if count <= plan.most_connections]
    variants = [
        Variant(f"{each.name}, {count} at once", each, Workload("json", JSON_PATH, connections=count, may_fail=True))
        for each in contestants
        if each.name in ("nginx", "worker-redis", "wsgi-redis", "apache-shm", "flask")
        for count in counts
    ]
    return run_rounds(Plan(rounds=min(plan.rounds, 3), seconds=plan.seconds), variants)


def measure_downloads(plan: Plan, contestants: Sequence[Contestant], world: World, *_: object) -> Found:
    """1 GiB at once: bytes a CPU second, and how much memory it takes meanwhile."""
    rounds: dict[str, list[Found]] = {each.name: [] for each in contestants}
    for _round in range(plan.rounds):
        for each in contestants:
            rounds[each.name].append(download(each, world))
    return {name: {**take_medians(found), "rounds": found} for name, found in rounds.items()}


def download(contestant: Contestant, world: World) -> Found:
    cookie = contestant.callers_file.read_text(encoding="ascii").partition("\t")[0]
    before = read_memory_bytes(contestant.pids)
    cpu = read_cpu_seconds(contestant.pids)
    words = ["curl", "-sSf", "-o", "/dev/null", "-H", f"Cookie: {cookie}", f"http://{contestant.address}{FILES}1g"]
    peak, is_over = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.05):
            peak = max(peak, read_memory_bytes(contestant.pids))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        subprocess.run(world.cores.pin_other(words), check=True)
    finally:
        is_over.set()
        watcher.join()
    cpu = read_cpu_seconds(contestant.pids) - cpu
    return {"cpu_seconds": cpu, "gib_per_cpu_second": 1 / max(cpu, 0.01), "grown_mib": (peak - before) / 2**20}


def measure_streams(plan: Plan, contestants: Sequence[Contestant], world: World, *_: object) -> Found:
    """The first streams of a process leave behind what it will use again, so each is measured from a cold start on."""
    chosen = [each for each in contestants if each.name in ("nginx", "worker-redis", "wsgi-redis")]
    direct = build_no_proxy(world, world.events_port, world.events_pid)
    found: dict[str, list[FanOut]] = {each.name: [] for each in [direct, *chosen]}
    for _round in range(min(plan.rounds, 3)):
        for each in [direct, *chosen]:
            found[each.name].append(measure_fan_out(each, plan.streams, plan.stream_seconds, world.cores))
    return {
        name: {
            **take_medians([one.as_json() for one in rounds]),
            "bytes_per_stream": max(one.bytes_per_stream for one in rounds),
            "rounds": [one.as_json() for one in rounds],
        }
        for name, rounds in found.items()
    }


def build_no_proxy(world: World, port: int, pid: int) -> Contestant:
    """The backend itself, with nothing before it."""
    nobody = write_callers(world.directory / "no-caller", [Caller()])
    return Contestant("no proxy", "", port, [pid], nobody, lambda: None)


# --- These start proxies of their own ---


def measure_websockets(plan: Plan, _: Sequence[Contestant], world: World, directory: Path) -> Found:
    """Proxies that have served nothing else: in what other load has left behind, so few connections would find room."""
    with ExitStack() as parts:
        nginx = start_nginx(directory / "echo-nginx", world.backend, world.cores, world.events_port, world.echo_port)
        parts.callback(nginx.stop)
        ours = start_ours(directory / "echo-ours", world, Setup("websockets", "", sessions=1))
        parts.callback(ours.stop)
        direct = build_no_proxy(world, world.echo_port, world.echo_pid)
        named = {"no proxy": direct, "nginx": nginx, "worker-redis": ours}
        found: dict[str, list[Talk]] = {name: [] for name in named}
        for each in named.values():  # once unmeasured
            measure_talk(each, 1, 0.1, world.cores)
        for _round in range(plan.rounds):
            for name, each in named.items():
                found[name].append(measure_talk(each, plan.websockets, plan.seconds, world.cores))
    return {
        name: {
            **take_medians([one.as_json() for one in rounds]),
            "bytes_per_connection": max(one.bytes_per_connection for one in rounds),
            "rounds": [one.as_json() for one in rounds],
        }
        for name, rounds in found.items()
    }


def measure_flatness(plan: Plan, _: Sequence[Contestant], world: World, directory: Path) -> Found:
    """Few and many routes, sessions and idle connections; `few` and `many` take turns."""
    few = start_ours(directory / "flat-few", world, Setup("flat-few", "", sessions=10, more_routes=10))
    routes = start_ours(
        directory / "flat-routes", world, Setup("flat-routes", "", sessions=10, more_routes=plan.routes)
    )
    sessions = start_ours(directory / "flat-sessions", world, Setup("flat-sessions", "", sessions=plan.sessions))
    ten_of_many = keep_callers(sessions, 10)
    workload = Workload("json", JSON_PATH, connections=FLAT_CONNECTIONS)
    try:
        found = run_rounds(
            plan,
            [
                Variant("10 routes, 10 sessions", few, workload),
                Variant(f"{plan.routes} routes", routes, workload),
                Variant(f"{plan.sessions} sessions, 10 of them call", ten_of_many, workload),
                Variant(f"{plan.sessions} sessions, all of them call", sessions, workload),
            ],
        )
        with held_connections(few, plan.idle_connections):
            found |= run_rounds(plan, [Variant(f"{plan.idle_connections} idle connections", few, workload)])
    finally:
        for contestant in (few, routes, sessions):
            contestant.stop()
    return found


def keep_callers(contestant: Contestant, count: int) -> Contestant:
    """The same contestant, called by only some of those who are logged in."""
    file = contestant.callers_file.with_name("some-callers")
    lines = contestant.callers_file.read_text(encoding="ascii").splitlines(keepends=True)
    file.write_text("".join(lines[:count]), encoding="ascii")
    return Contestant(
        contestant.name,
        contestant.title,
        contestant.port,
        contestant.pids,
        file,
        contestant.stop,
        contestant.count_store_reads,
    )


# --- rounds ---


def run_rounds(plan: Plan, variants: Sequence[Variant]) -> Found:
    rounds: dict[str, list[Found]] = {variant.name: [] for variant in variants}
    cores = Cores.choose()
    for variant in variants:  # once unmeasured: pools fill, decisions and copies come to be known
        run_round(variant.contestant, variant.workload, min(plan.seconds, 1), cores)
    for _ in range(plan.rounds):
        for variant in variants:
            if variant.lead_in_seconds:
                run_round(variant.contestant, variant.workload, variant.lead_in_seconds, cores)
            count = variant.contestant.count_store_reads
            reads = count() if count else 0
            one = run_round(variant.contestant, variant.workload, plan.seconds, cores)
            rounds[variant.name].append(one.as_json() | build_hit_rate(one, count() - reads if count else None))
    return {name: {**take_medians(found), "rounds": found} for name, found in rounds.items()}


def build_hit_rate(one: Round, reads: int | None) -> Found:
    """The share of calls that a copy in the worker served, as far as the store can tell: one read is one miss."""
    return {} if reads is None else {"copy_hit_rate": max(0.0, 1 - reads / max(one.calls, 1))}


def take_medians(rounds: Sequence[Found]) -> Found:
    return {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}


def is_ours(contestant: Contestant) -> bool:
    return contestant.name.startswith(("worker-", "wsgi-"))


@dataclass(frozen=True, slots=True)
class Part:
    title: str
    measure: Callable[..., Found]
    starts_its_own: bool = False


PARTS = {
    "calls": Part("GET of 190 bytes of JSON, 16 connections that never pause", measure_calls),
    "same-rate": Part("The same at 400 calls a second", measure_same_rate),
    "uploads": Part("POST of 64 KiB", measure_uploads),
    "files": Part("GET of 1 MiB", measure_files),
    "downloads": Part("GET of 1 GiB", measure_downloads),
    "streams": Part("Server-sent events, one a second on each stream", measure_streams),
    "saturation": Part("More and more callers at once", measure_saturation),
    "websockets": Part(
        "WebSocket: messages of 100 bytes, the next one once the echo is there", measure_websockets, starts_its_own=True
    ),
    "flatness": Part("Few and many", measure_flatness, starts_its_own=True),
}
