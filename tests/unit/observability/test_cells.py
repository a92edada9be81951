from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observability.cells import Cells, Metric, retire

CALLS = Metric("bff_calls_total", "counter", "Calls.", ("route",))
OPEN = Metric("bff_open", "gauge", "Open.")
SECONDS = Metric("bff_seconds", "histogram", "Seconds.", ("route",), (0.1, 1.0))
METRICS = (CALLS, OPEN, SECONDS)


def read_samples(cells: Cells) -> dict[tuple[str, tuple[str, ...]], float]:
    """What a scraper sees: sample name and label values, to the number."""
    content_type, body = cells.render(METRICS, "")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


@pytest.fixture(params=["shared", "alone"])
def cells(request: pytest.FixtureRequest, tmp_path: Path) -> Cells:
    return Cells(tmp_path if request.param == "shared" else None)


def test_counts_add_up_by_label(cells: Cells) -> None:
    cells.add(CALLS, ("a",))
    cells.add(CALLS, ("a",))
    cells.add(CALLS, ("b",))

    samples = read_samples(cells)
    assert samples["bff_calls_total", ("a",)] == 2
    assert samples["bff_calls_total", ("b",)] == 1


def test_a_gauge_goes_up_and_down(cells: Cells) -> None:
    cells.add(OPEN)
    cells.add(OPEN)
    cells.add(OPEN, amount=-1)

    assert read_samples(cells)["bff_open", ()] == 1


def test_buckets_cumulate_and_hold_what_is_at_most_their_bound(cells: Cells) -> None:
    for seconds in (0.05, 0.1, 0.5, 7.0):
        cells.observe(SECONDS, ("a",), seconds)

    samples = read_samples(cells)
    assert samples["bff_seconds_bucket", ("0.1", "a")] == 2
    assert samples["bff_seconds_bucket", ("1.0", "a")] == 3
    assert samples["bff_seconds_bucket", ("+Inf", "a")] == 4
    assert samples["bff_seconds_count", ("a",)] == 4
    assert samples["bff_seconds_sum", ("a",)] == pytest.approx(7.65)


def test_what_has_no_labels_is_there_from_the_start(cells: Cells) -> None:
    assert read_samples(cells) == {("bff_open", ()): 0.0}


def test_many_label_sets_make_the_file_grow(cells: Cells) -> None:
    for n in range(5000):
        cells.observe(SECONDS, (f"route-{n}",), 0.5)
    cells.observe(SECONDS, ("route-0",), 0.5)

    samples = read_samples(cells)
    assert samples["bff_seconds_count", ("route-0",)] == 2
    assert samples["bff_seconds_count", ("route-4999",)] == 1


def test_beyond_the_bound_nothing_breaks(cells: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.cells._MAX_BYTES", 64 * 1024)
    for n in range(2000):
        cells.observe(SECONDS, (f"route-{n}",), 0.5)

    assert 100 < len([name for name, _ in read_samples(cells) if name == "bff_seconds_count"]) < 2000


@pytest.mark.parametrize("label", ['a"b', "a\\b", "a\nb", "ä", ""])
def test_a_strange_label_survives(cells: Cells, label: str) -> None:
    cells.add(CALLS, (label,))

    assert read_samples(cells)["bff_calls_total", (label,)] == 1


def test_threads_lose_no_count(cells: Cells) -> None:
    def count() -> None:
        for _ in range(20_000):
            cells.add(CALLS, ("a",))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert read_samples(cells)["bff_calls_total", ("a",)] == 80_000


WORKER_PROGRAM = """
import sys
from pathlib import Path
from tests.unit.observability.test_cells import CALLS, OPEN, SECONDS
from app.observability.cells import Cells

cells = Cells(Path(sys.argv[1]))
for n in range(1000):
    cells.add(CALLS, ("a",))
    cells.observe(SECONDS, ("a",), 0.5)
cells.add(CALLS, (sys.argv[2],))
cells.add(OPEN)
print("counted", flush=True)
sys.stdin.readline()
"""


class Worker:
    def __init__(self, directory: Path, label: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER_PROGRAM, str(directory), label],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )

    def wait_until_counted(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"counted\n"

    def end(self) -> int:
        with self.process:
            self.process.communicate(b"\n")
        return self.process.pid


def test_the_counts_of_all_workers_add_up(tmp_path: Path) -> None:
    mine = Cells(tmp_path)
    mine.add(CALLS, ("a",))
    workers = [Worker(tmp_path, label) for label in ("b", "c")]
    for worker in workers:
        worker.wait_until_counted()

    samples = read_samples(mine)
    assert samples["bff_calls_total", ("a",)] == 2001
    assert samples["bff_calls_total", ("b",)] == samples["bff_calls_total", ("c",)] == 1
    assert samples["bff_seconds_bucket", ("1.0", "a")] == 2000
    assert samples["bff_open", ()] == 2
    for worker in workers:
        worker.end()


def test_a_worker_that_is_gone_leaves_its_counts_and_takes_its_gauges(tmp_path: Path) -> None:
    mine = Cells(tmp_path)
    mine.add(OPEN)
    for label in ("b", "c"):
        worker = Worker(tmp_path, label)
        worker.wait_until_counted()
        retire(tmp_path, worker.end(), gauges={"bff_open"})

    samples = read_samples(mine)
    assert samples["bff_calls_total", ("a",)] == 2000
    assert samples["bff_calls_total", ("c",)] == 1
    assert samples["bff_seconds_sum", ("a",)] == 1000.0
    assert samples["bff_open", ()] == 1
    assert sorted(path.name for path in tmp_path.glob("*.cells")) == sorted([f"{os.getpid()}.cells", "retired.cells"])


def test_retiring_a_worker_that_never_counted_does_nothing(tmp_path: Path) -> None:
    retire(tmp_path, 4_000_000, gauges=())

    assert list(tmp_path.glob("*.cells")) == []


def test_half_a_file_is_no_reason_to_show_nothing(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    cells.add(CALLS, ("a",))
    (tmp_path / "1.cells").write_bytes(b"")
    (tmp_path / "2.cells").write_bytes(b"something else entirely")

    assert read_samples(cells)["bff_calls_total", ("a",)] == 1
