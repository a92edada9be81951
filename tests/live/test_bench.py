"""The benchmark's harness runs. Its figures are nobody's business here: a test machine is a busy one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.proxies.contestant import Caller, Contestant, write_callers
from bench.proxies.echo import PIECE_BYTES, Browser, Echoing, build_echo, build_frame, find_frame
from bench.proxies.load import Workload, run_round
from bench.proxies.machine import Cores
from bench.proxies.parts import PARTS, Plan
from bench.proxies.report import build_chart, console, describe_machine, show, write
from bench.proxies.world import open_contestants, open_world

pytestmark = pytest.mark.live

PLAN = Plan(rounds=1, seconds=1, streams=10, stream_seconds=1.2, websockets=5)
CHOSEN = ("nginx", "worker-redis")


@pytest.mark.timeout(180)
def test_each_contestant_is_called_and_each_call_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 150)  # whatever terminal the tests run in
    cores = Cores.choose()
    found: dict[str, object] = {"machine": describe_machine(cores)}
    with open_world(tmp_path, cores) as world, open_contestants(tmp_path, world, CHOSEN) as contestants:
        assert [contestant.name for contestant in contestants] == list(CHOSEN)
        for part in ("calls", "streams", "websockets"):
            found[part] = PARTS[part].measure(PLAN, contestants, world, tmp_path)
            show(part, found)
        with pytest.raises(SystemExit, match="worker-redis answered no call of json"):
            run_round(without_cookies(contestants[1], tmp_path), Workload("json", "/api/crud/forms/7"), 1, cores)
        assert has_streams_in_time(found["streams"])
        assert echoes_everything(found["websockets"])
    for row in found["calls"].values():  # type: ignore[attr-defined]
        assert row["calls"] > 0
        assert row["cpu_us_per_call"] > 0
        assert (row["refused"], row["broken"]) == (0, 0)
    write(found, tmp_path / "results")
    assert set(json.loads((tmp_path / "results" / "bench.json").read_text())) == set(found)
    assert (tmp_path / "results" / "bench.svg").read_text().count("<rect") == 1 + 3
    assert "worker-redis, no PDP" in capsys.readouterr().out


def without_cookies(contestant: Contestant, directory: Path) -> Contestant:
    callers = write_callers(directory / "nobody", [Caller()])
    return Contestant(contestant.name, "", contestant.port, contestant.pids, callers, contestant.stop)


def has_streams_in_time(found: object) -> bool:
    assert isinstance(found, dict)
    return set(found) == {"no proxy", *CHOSEN} and all(row["events"] > 0 and row["cut"] == 0 for row in found.values())


def echoes_everything(found: object) -> bool:
    assert isinstance(found, dict)
    rows = found.values()
    return set(found) == {"no proxy", *CHOSEN} and all(
        row["messages"] > row["connections"] and row["cut"] == 0 and 0 < row["p50_ms"] <= row["p99_ms"] for row in rows
    )


def test_a_frame_and_its_echo_hold_the_same_text() -> None:
    frame = build_frame(b"Guten Tag", b"\x37\xfa\x21\x3d")
    assert b"Guten Tag" not in frame
    assert build_echo(frame) == b"\x81\x09Guten Tag"


def test_a_frame_comes_in_pieces_or_with_the_next_one() -> None:
    frame = build_frame(b"one", b"mask")
    assert [find_frame(frame[:length]) for length in range(len(frame))] == [b""] * len(frame)
    assert find_frame(frame + build_frame(b"two", b"mask")) == frame


@pytest.mark.parametrize("answer", [b"", b"\x88\x02\x03\xf0", b"\x81\x64" + b"1" * 100], ids=["end", "close", "other"])
def test_whatever_is_not_the_echo_ends_the_talk(answer: bytes) -> None:
    with served_echo(answer) as port:
        browser, times = Browser(port, "", 7), list[int]()
        with browser.connection:
            browser.send()
            assert not browser.receive(times)
        assert not times


@contextmanager
def served_echo(answer: bytes) -> Iterator[int]:
    """A backend that opens one WebSocket and gives this to its first message."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert Echoing(connection).open()
            connection.recv(PIECE_BYTES)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_the_cheapest_comes_first_in_the_chart() -> None:
    chart = build_chart({"slow & dear": {"cpu_us_per_call": 900.0}, "worker-redis": {"cpu_us_per_call": 100.0}})
    assert chart.index("worker-redis") < chart.index("slow &amp; dear")
