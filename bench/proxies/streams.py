"""Server-sent events to many at once: how late an event comes, and what a stream costs.

    python -m bench.proxies.streams serve PORT                        the backend: an event a second on each stream
    python -m bench.proxies.streams read PORT COUNT SECONDS COOKIE    COUNT readers; prints one line of JSON

An event holds the time at which it was sent, by the clock that all processes of a machine share; whoever reads it knows
how late it is.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.proxies.contestant import Contestant
from bench.proxies.machine import Cores, read_cpu_seconds, read_memory_bytes

SLICES = 50
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
OPEN_AT_ONCE = 200
EVENTS_PATH = "/api/crud/events"


class Source(asyncio.Protocol):
    """One stream of the backend."""

    def __init__(self, slices: list[set[asyncio.Transport]]) -> None:
        self._slices = slices
        self._slice: set[asyncio.Transport] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(HEAD)
        self._slice = min(self._slices, key=len)
        self._slice.add(self._transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._slice.discard(self._transport)


async def serve(port: int) -> None:
    slices: list[set[asyncio.Transport]] = [set() for _ in range(SLICES)]
    await asyncio.get_running_loop().create_server(lambda: Source(slices), "127.0.0.1", port, backlog=4096)
    due = time.monotonic()
    turn = 0
    while True:
        for transport in list(slices[turn]):
            transport.write(b"data: %d\n\n" % time.monotonic_ns())
        turn = (turn + 1) % SLICES
        due += 1 / SLICES
        await asyncio.sleep(max(0.0, due - time.monotonic()))


class Reader(asyncio.Protocol):
    """One browser that listens."""

    def __init__(self, request: bytes, lags: list[int]) -> None:
        self._request = request
        self._lags = lags
        self.is_open = False
        self.was_cut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, received: bytes) -> None:
        now = time.monotonic_ns()
        if not self.is_open:
            self.is_open = received.startswith(b"HTTP/1.1 200 ")
        for piece in received.split(b"data: ")[1:]:
            self._lags.append(now - int(piece[: piece.index(b"\n")]))

    def connection_lost(self, _: Exception | None) -> None:
        self.was_cut = True


async def read(port: int, count: int, seconds: float, cookie: str) -> None:
    loop = asyncio.get_running_loop()
    lags: list[int] = []
    request = f"GET {EVENTS_PATH} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: text/event-stream\r\n"
    request += f"Cookie: {cookie}\r\n\r\n" if cookie else "\r\n"
    readers: list[Reader] = []
    while len(readers) < count:
        more = [
            loop.create_connection(lambda: Reader(request.encode(), lags), "127.0.0.1", port)
            for _ in range(min(OPEN_AT_ONCE, count - len(readers)))
        ]
        readers += [reader for _, reader in await asyncio.gather(*more)]
        while not all(reader.is_open or reader.was_cut for reader in readers):
            await asyncio.sleep(0.01)
    print("OPEN", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    lags.clear()
    await asyncio.sleep(seconds)
    lags.sort()
    cut = sum(reader.was_cut for reader in readers)
    found = {"events": len(lags), "cut": cut, **{name: lags[int(len(lags) * part)] / 1e6 for name, part in _PARTS}}
    print(json.dumps(found), flush=True)
    await asyncio.Event().wait()  # until killed


_PARTS = (("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999))


@dataclass(frozen=True, slots=True)
class FanOut:
    """What so many streams gave at one proxy."""

    streams: int
    events: int
    cut: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    bytes_per_stream: float
    cpu_us_per_event: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def measure_fan_out(contestant: Contestant, streams: int, seconds: float, cores: Cores) -> FanOut:
    cookie = contestant.callers_file.read_text(encoding="ascii").partition("\t")[0]
    before = read_memory_bytes(contestant.pids)
    words = [sys.executable, "-m", __spec__.name, "read", str(contestant.port), str(streams), str(seconds), cookie]
    with subprocess.Popen(cores.pin_other(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        try:
            if reader.stdout.readline().strip() != "OPEN":
                raise SystemExit(f"{contestant.name} did not open {streams} streams")
            memory = read_memory_bytes(contestant.pids)
            cpu = read_cpu_seconds(contestant.pids)
            print(file=reader.stdin, flush=True)
            found = json.loads(reader.stdout.readline())
            cpu = read_cpu_seconds(contestant.pids) - cpu
        finally:
            reader.kill()
    return FanOut(
        streams=streams,
        bytes_per_stream=(memory - before) / streams,
        cpu_us_per_event=cpu / max(found["events"], 1) * 1e6,
        **found,
    )


def main(words: Sequence[str]) -> None:
    if words[0] == "serve":
        asyncio.run(serve(int(words[1])))
    else:
        asyncio.run(read(int(words[1]), int(words[2]), float(words[3]), words[4] if len(words) > 4 else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
