"""Numbers that several workers count and any of them can add up: one memory-mapped file of cells per worker.

An update is one addition in shared memory (0.2–0.3 µs), without a lock: within a worker no other greenlet or thread
can come between the read and the write of `view[place] += amount`, for CPython switches at calls and jumps only.
A worker that is gone leaves its counts: `retire` adds them to the file `retired.cells`, its gauges it drops.

File: 8 bytes of magic, 8 bytes that say how much is in use, then entries of [key length, width] as 32-bit numbers,
the key (a JSON list of metric name and label values) padded to 8 bytes, and `width` doubles. A histogram's doubles
are its buckets (not cumulated), the bucket above them all, and the sum.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

_MAGIC = b"BFFcell1"
_HEAD_BYTES = 16
_FIRST_BYTES = 64 * 1024
_MAX_BYTES = 64 * 1024 * 1024
"""A bound for what should never be reached: some 500,000 histograms."""
_RETIRED = "retired.cells"

Key = tuple[str, ...]
"""Metric name, then label values."""


@dataclass(frozen=True)
class Metric:
    """What is counted under one name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many doubles one set of label values takes."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


class Cells:
    """The cells of this process. `directory` is shared by the workers of one master; None keeps them to ourselves."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        # Without a directory the file has no name; growing works the same.
        self._descriptor = _open_unnamed() if directory is None else _open_named(directory / f"{os.getpid()}.cells")
        self._places: dict[tuple[str, tuple[str, ...]], int] = {}
        self._lock = threading.Lock()
        # Nobody else holds the lock, so it goes when these cells go, who cannot be watched themselves once compiled.
        weakref.finalize(self._lock, os.close, self._descriptor)
        self._used = _HEAD_BYTES
        self._map(_FIRST_BYTES)
        self._raw[:_HEAD_BYTES] = _MAGIC + struct.pack("=Q", _HEAD_BYTES)

    def add(self, metric: Metric, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Adds to a counter or a gauge."""
        place = self.find_place(metric, labels)
        self._numbers[place] += amount

    def find_place(self, metric: Metric, labels: tuple[str, ...] = ()) -> int:
        """Returns where these numbers are and stay, for `add_at` and `observe_at`, which look nothing up."""
        place = self._places.get((metric.name, labels))
        return self._allocate(metric, labels) if place is None else place

    def add_at(self, place: int, amount: float = 1.0) -> None:
        self._numbers[place] += amount

    def observe_at(self, place: int, buckets: tuple[float, ...], value: float) -> None:
        numbers = self._numbers
        numbers[place + bisect_left(buckets, value)] += 1.0
        numbers[place + len(buckets) + 1] += value

    def observe(self, metric: Metric, labels: tuple[str, ...], value: float) -> None:
        """Counts a value in its histogram's bucket; a bucket holds what is at most its bound."""
        self.observe_at(self.find_place(metric, labels), metric.buckets, value)

    def render(self, metrics: Iterable[Metric], accept: str) -> tuple[str, bytes]:
        """Adds up all workers and returns content type and body, in the format that `accept` asks for."""
        registry = CollectorRegistry()
        totals = self._read_totals()
        registry.register(_Totals(lambda: _build_families(metrics, totals)))
        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)

    def _read_totals(self) -> dict[Key, list[float]]:
        if self._directory is None:
            return _add_up([bytes(self._raw)])
        with _locked(self._directory, fcntl.LOCK_SH):
            return _add_up([path.read_bytes() for path in self._directory.glob("*.cells")])

    def _allocate(self, metric: Metric, labels: tuple[str, ...]) -> int:
        with self._lock:
            place = self._places.get((metric.name, labels))
            if place is not None:
                return place
            key = msgspec.json.encode([metric.name, *labels])
            key += b" " * (-len(key) % 8)
            start = self._used + 8 + len(key)
            end = start + 8 * metric.width
            if end > _MAX_BYTES:
                return self._allocate_nowhere()
            if end > len(self._raw):
                self._map(max(2 * len(self._raw), end))
            self._raw[self._used : start] = struct.pack("=II", len(key), metric.width) + key
            # Last, so that a reader never sees half an entry.
            self._raw[8:_HEAD_BYTES] = struct.pack("=Q", end)
            self._used = end
            place = self._places[metric.name, labels] = start // 8
            return place

    def _allocate_nowhere(self) -> int:
        """A place behind everything that is ever read."""
        if len(self._raw) < _MAX_BYTES + 4096:
            self._map(_MAX_BYTES + 4096)
        return _MAX_BYTES // 8

    def _map(self, size: int) -> None:
        # The previous mapping is left to whoever is still adding in it; both show the same file.
        os.ftruncate(self._descriptor, size)
        self._raw = mmap.mmap(self._descriptor, size)
        self._numbers = memoryview(self._raw).cast("d")


def _open_named(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _open_unnamed() -> int:
    """A file without a name grows the same way as one that others read."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def retire(directory: Path, pid: int, gauges: Collection[str]) -> None:
    """Keeps the counts of a worker that has ended and drops its gauges. Called by the master, once a worker."""
    worker = directory / f"{pid}.cells"
    with _locked(directory, fcntl.LOCK_EX):
        if not worker.exists():
            return
        kept = directory / _RETIRED
        contents = [path.read_bytes() for path in (kept, worker) if path.exists()]
        totals = {key: numbers for key, numbers in _add_up(contents).items() if key[0] not in gauges}
        fresh = directory / "retired.new"
        fresh.write_bytes(_build_file(totals))
        fresh.replace(kept)
        worker.unlink()


@contextlib.contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    """Keeps a scrape from seeing a worker twice, or not at all, while it is being retired."""
    with (directory / "lock").open("ab") as file:
        fcntl.flock(file, how)
        yield


def _add_up(contents: Iterable[bytes]) -> dict[Key, list[float]]:
    totals: dict[Key, list[float]] = {}
    for content in contents:
        for key, numbers in _parse_file(content):
            there = totals.get(key)
            totals[key] = numbers if there is None else [a + b for a, b in zip(there, numbers, strict=False)]
    return totals


def _parse_file(content: bytes) -> Iterator[tuple[Key, list[float]]]:
    if content[:8] != _MAGIC:
        return
    (used,) = struct.unpack_from("=Q", content, 8)
    position = _HEAD_BYTES
    while position < used:
        key_length, width = struct.unpack_from("=II", content, position)
        position += 8
        key = tuple(msgspec.json.decode(content[position : position + key_length], type=list[str]))
        position += key_length
        yield key, list(struct.unpack_from(f"={width}d", content, position))
        position += 8 * width


def _build_file(totals: dict[Key, list[float]]) -> bytes:
    entries = []
    for key, numbers in totals.items():
        name = msgspec.json.encode(list(key))
        name += b" " * (-len(name) % 8)
        entries.append(struct.pack("=II", len(name), len(numbers)) + name + struct.pack(f"={len(numbers)}d", *numbers))
    body = b"".join(entries)
    return _MAGIC + struct.pack("=Q", _HEAD_BYTES + len(body)) + body


class _Totals(Collector):
    def __init__(self, collect: Callable[[], Iterable[Family]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Family]:
        return self._collect()


def _build_families(metrics: Iterable[Metric], totals: dict[Key, list[float]]) -> Iterator[Family]:
    by_name: dict[str, list[tuple[Key, list[float]]]] = {}
    for key, numbers in sorted(totals.items()):
        by_name.setdefault(key[0], []).append((key[1:], numbers))
    for metric in metrics:
        found = by_name.get(metric.name, [])
        if not found and not metric.labels:
            found = [((), [0.0] * metric.width)]
        yield _build_family(metric, found)


def _build_family(metric: Metric, found: Iterable[tuple[Key, list[float]]]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, numbers in found:
            histogram.add_metric(labels, _cumulate(metric.buckets, numbers), numbers[-1])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, numbers in found:
        family.add_metric(labels, numbers[0])
    return family


def _cumulate(buckets: tuple[float, ...], numbers: list[float]) -> list[tuple[str, float]]:
    total = 0.0
    cumulated = []
    for bound, count in zip((*map(str, buckets), "+Inf"), numbers, strict=False):
        total += count
        cumulated.append((bound, total))
    return cumulated
