"""Tables for people, JSON for machines, one picture."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.proxies.machine import Cores
from bench.proxies.parts import PARTS, Found

console = Console(width=int(os.environ.get("COLUMNS", "150")))
Row = Mapping[str, Any]
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    build: Callable[[Row, Mapping[str, Row]], str]


def figure(title: str, key: str, form: str = "{:,.0f}", scale: float = 1) -> Column:
    return Column(title, lambda row, _: form.format(row[key] * scale) if key in row else "")


def ratio(title: str, key: str, base: str, form: str = "{:.2f}") -> Column:
    def build(row: Row, rows: Mapping[str, Row]) -> str:
        return form.format(row[key] / rows[base][key]) if base in rows and rows[base].get(key) else ""

    return Column(title, build)


CALLS = (
    figure("calls/s", "calls_per_second"),
    figure("CPU µs a call", "cpu_us_per_call", "{:,.1f}"),
    ratio("× nginx", "cpu_us_per_call", "nginx"),
    ratio("× Apache shm", "cpu_us_per_call", "apache-shm"),
    ratio("× Flask", "cpu_us_per_call", "flask", "{:.3f}"),
    figure("p50 ms", "p50", "{:.2f}", 1e-3),
    figure("p99 ms", "p99", "{:.2f}", 1e-3),
    figure("p99.9 ms", "p999", "{:.2f}", 1e-3),
    figure("MiB", "memory_bytes", "{:,.0f}", 1 / MIB),
    figure("copies served", "copy_hit_rate", "{:.1%}"),
    Column("faults", lambda row, _: str(int(row["broken"] + row["refused"]) or "")),
)
COLUMNS = {
    "downloads": (
        figure("CPU s", "cpu_seconds", "{:.2f}"),
        figure("GiB a CPU second", "gib_per_cpu_second", "{:.2f}"),
        ratio("× nginx", "gib_per_cpu_second", "nginx"),
        figure("memory grew MiB", "grown_mib", "{:.1f}"),
    ),
    "streams": (
        figure("streams", "streams"),
        figure("p50 lag ms", "p50_ms", "{:.2f}"),
        figure("p99 lag ms", "p99_ms", "{:.2f}"),
        figure("p99.9 lag ms", "p999_ms", "{:.2f}"),
        figure("KiB a stream", "bytes_per_stream", "{:.1f}", 1 / 1024),
        figure("CPU µs an event", "cpu_us_per_event", "{:.1f}"),
        figure("cut", "cut"),
    ),
    "websockets": (
        figure("connections", "connections"),
        figure("messages/s", "messages_per_second"),
        figure("CPU µs a message, both ways", "cpu_us_per_message", "{:.1f}"),
        ratio("× nginx", "cpu_us_per_message", "nginx"),
        figure("p50 ms", "p50_ms", "{:.2f}"),
        figure("p99 ms", "p99_ms", "{:.2f}"),
        figure("KiB a connection", "bytes_per_connection", "{:.1f}", 1 / 1024),
        figure("cut", "cut"),
    ),
    "flatness": (
        figure("CPU µs a call", "cpu_us_per_call", "{:,.1f}"),
        ratio("× few", "cpu_us_per_call", "10 routes, 10 sessions"),
        figure("p99 ms", "p99", "{:.2f}", 1e-3),
        figure("MiB", "memory_bytes", "{:,.0f}", 1 / MIB),
        figure("copies served", "copy_hit_rate", "{:.1%}"),
        Column("faults", lambda row, _: str(int(row["broken"] + row["refused"]) or "")),
    ),
}


def describe_machine(cores: Cores) -> Found:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "interpreter": str(Path(sys.executable).resolve()),
        "commit": commit.stdout.strip(),
        "proxy_core": cores.proxy,
        "other_core": cores.others,
        "load_average": os.getloadavg()[0],
    }


def show(part: str, found: Mapping[str, Any]) -> None:
    rows: Mapping[str, Row] = found[part]
    columns = COLUMNS.get(part, CALLS)
    table = Table(title=PARTS[part].title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column.title, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(column.build(row, rows) for column in columns))
    console.print(table)


def write(found: Mapping[str, Any], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bench.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    written = ["bench.json"]
    if "calls" in found:
        (directory / "bench.svg").write_text(build_chart(found["calls"]), encoding="utf-8")
        written.append("bench.svg")
    console.print(f"Written to {directory}: {', '.join(written)}")


def build_chart(calls: Mapping[str, Row]) -> str:
    """CPU a call as bars, the cheapest first; Flask's bar would hide the others, so the scale is a square root."""
    rows = sorted(calls.items(), key=lambda item: float(item[1]["cpu_us_per_call"]))
    widest = max(float(row["cpu_us_per_call"]) for _, row in rows) ** 0.5
    height = 34 * len(rows) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" font-family="sans-serif" font-size="14">',
        f'<rect width="860" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="16">CPU time of one proxied GET of 190 bytes, in µs (square-root scale)</text>',
    ]
    for index, (name, row) in enumerate(rows):
        value = float(row["cpu_us_per_call"])
        top = 44 + 34 * index
        color = "#2563eb" if name.startswith(("worker", "wsgi")) else "#94a3b8"
        width = 520 * value**0.5 / widest
        parts.append(f'<text x="210" y="{top + 17}" text-anchor="end" fill="#0f172a">{escape(name)}</text>')
        parts.append(f'<rect x="220" y="{top}" width="{width:.1f}" height="24" rx="3" fill="{color}"/>')
        parts.append(f'<text x="{228 + width:.1f}" y="{top + 17}" fill="#0f172a">{value:,.0f}</text>')
    return "\n".join([*parts, "</svg>", ""])
