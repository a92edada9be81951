"""In production sockets, threads and locks are gevent's: every test here must hold there, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.under_gevent import IS_UNDER_GEVENT, run_under_gevent


@pytest.mark.skipif(IS_UNDER_GEVENT, reason="this is the run under gevent")
def test_all_of_this_holds_under_gevent(tmp_path: Path) -> None:
    run_under_gevent(tmp_path, Path(__file__).parent)
