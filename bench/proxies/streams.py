"""Server-sent events to many at once: how late an event comes, and what a stream costs.

    python -m bench.proxies.streams serve PORT                        the backend: an event a second on each stream
    python -m bench.proxies.streams read PORT COUNT SECONDS CALLERS   COUNT readers; prints one line of JSON

CALLERS is the file of those who are logged in, who open streams in turn.
An event holds the time at which it was sent, by the clock that all processes of a machine share; whoever reads it knows
how late it is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.proxies.contestant import Contestant, read_cookies
from bench.proxies.load import run_held
from bench.proxies.machine import Cores

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


def build_request(port: int, cookie: str) -> bytes:
    """As a browser's `EventSource` sends it."""
    lines = [
        f"GET {EVENTS_PATH} HTTP/1.1",
        f"Host: localhost:{port}",
        "Connection: keep-alive",
        'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
        "sec-ch-ua-mobile: ?0",
        'sec-ch-ua-platform: "Linux"',
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
        "Accept: text/event-stream",
        "Cache-Control: no-cache",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Dest: empty",
        f"Referer: http://localhost:{port}/app/",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
        *([f"Cookie: {cookie}"] if cookie else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read(port: int, count: int, seconds: float, callers: Path) -> None:
    loop = asyncio.get_running_loop()
    print("READY", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    lags: list[int] = []
    requests = [build_request(port, cookie) for cookie in read_cookies(callers)]
    readers: list[Reader] = []
    while len(readers) < count:
        opened = len(readers)
        more = [
            loop.create_connection(partial(Reader, requests[number % len(requests)], lags), "127.0.0.1", port)
            for number in range(opened, min(opened + OPEN_AT_ONCE, count))
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
    held = run_held(contestant, [__spec__.name, "read"], streams, seconds, cores)
    return FanOut(
        streams=streams,
        bytes_per_stream=held.memory_bytes / streams,
        cpu_us_per_event=held.cpu_seconds / max(held.found["events"], 1) * 1e6,
        **held.found,
    )


def main(words: Sequence[str]) -> None:
    if words[0] == "serve":
        asyncio.run(serve(int(words[1])))
    else:
        asyncio.run(read(int(words[1]), int(words[2]), float(words[3]), Path(words[4])))


if __name__ == "__main__":
    main(sys.argv[1:])
