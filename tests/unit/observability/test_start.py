from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.observability import audit, logs
from app.observability.metrics import Metrics
from app.observability.start import start_observing
from tests.unit.observability.captured_lines import CapturedLines


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    logs.configure("info")
    root.handlers[:] = handlers
    audit.configure("stdout")


def test_level_and_audit_file_are_those_of_the_settings(captured: CapturedLines, tmp_path: Path) -> None:
    start_observing(level="error", audit_sink=str(tmp_path / "audit.log"), metrics=Metrics())
    logs.get_logger("app").warning("too little")
    logs.get_logger("app").error("enough")
    audit.record("logout.completed")

    assert [record["event"] for record in captured.records] == ["enough"]
    assert "logout.completed" in (tmp_path / "audit.log").read_text(encoding="utf-8")


def test_lines_that_are_lost_are_counted(captured: CapturedLines) -> None:
    metrics = Metrics()
    start_observing(level="info", audit_sink="stdout", metrics=metrics)
    captured.writer.start(start_thread=lambda _: None)  # nobody writes anything out
    for _ in range(10_003):
        captured.writer.offer(b"line\n")

    assert b"bff_access_records_dropped_total 3.0" in metrics.render()[1]
