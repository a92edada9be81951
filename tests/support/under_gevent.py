"""Runs tests once more where sockets, threads and locks are gevent's, as they are in production."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

IS_UNDER_GEVENT = "BFF_TEST_UNDER_GEVENT" in os.environ
_RUN = "from gevent import monkey; monkey.patch_all(); import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


def run_under_gevent(directory: Path, *tests: Path) -> None:
    """`directory` is for what the tests write. Raises AssertionError with what was printed."""
    options = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={directory / 'run'}"]
    outcome = subprocess.run(
        [sys.executable, "-c", _RUN, *options, *map(str, tests)],
        capture_output=True,
        text=True,
        env=os.environ | {"BFF_TEST_UNDER_GEVENT": "1"},
        timeout=110,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
