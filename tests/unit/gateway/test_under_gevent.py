"""In production sockets are gevent's, and the event loop watches clients: the same must hold there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_FILE = Path(__file__).with_name("test_client_watch.py")
_RUN = "from gevent import monkey; monkey.patch_all(); import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.mark.skipif("BFF_TEST_UNDER_GEVENT" in os.environ, reason="this is the run under gevent")
def test_clients_are_watched_alike_under_gevent(tmp_path: Path) -> None:
    options = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'run'}"]
    arguments = [sys.executable, "-c", _RUN, *options, str(_FILE)]
    environment = os.environ | {"BFF_TEST_UNDER_GEVENT": "1"}
    outcome = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=110, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "skipped" not in outcome.stdout
