"""In production sockets are gevent's, and the event loop watches clients: the same must hold there."""

from __future__ import annotations

from pathlib import Path

from tests.support.under_gevent import run_under_gevent


def test_clients_are_watched_alike_under_gevent(tmp_path: Path) -> None:
    run_under_gevent(tmp_path, Path(__file__).with_name("test_client_watch.py"))
