"""In production sockets, threads and locks are gevent's: the tests that wait for others must hold there, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.redis_servers import RedisServer, running_redis
from tests.support.under_gevent import IS_UNDER_GEVENT, run_under_gevent

_FOLDER = Path(__file__).parent
_FILES = (
    "test_look",
    "test_pool",
    "test_single_flight",
    "test_lost_replies",
    "test_lock",
    "test_lock_returns",
    "test_replication",
    "test_listener",
)


CUT_OFF = """
from gevent import monkey; monkey.patch_all()
import gevent, sys, time
from app.services.state_store.redis_engine import open_redis_state_store
from app.settings.schema.session_section import RedisSettings

url, prefix, server_pid = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = open_redis_state_store(url, RedisSettings(key_prefix=prefix, max_connections=1), time.time)
store.put("login:a", b"of a", 60)
store.put("login:b", b"of b", 60)

import os, signal
os.kill(server_pid, signal.SIGSTOP)
try:
    # At once: a moment later its connection would be looked at before it is used again.
    cut_off = gevent.spawn(store.find, "login:a")
    gevent.sleep(0)
    gevent.sleep(0)
    cut_off.kill()
    os.kill(server_pid, signal.SIGCONT)
    assert store.find("login:b").value == b"of b"
    os.kill(server_pid, signal.SIGSTOP)
    timed_out = gevent.spawn(lambda: gevent.with_timeout(0.05, store.find, "login:a", timeout_value=None))
    timed_out.join()
finally:
    os.kill(server_pid, signal.SIGCONT)
for _ in range(5):
    assert store.find("login:b").value == b"of b"
    assert store.find("login:a").value == b"of a"
store.close()
"""


def test_a_call_that_is_cut_off_leaves_its_reply_to_nobody(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        script = [sys.executable, "-c", CUT_OFF, server.url, "bff:", str(server.child.pid)]
        root = Path(__file__).parents[5]
        outcome = subprocess.run(script, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")


WATCHED = """
from gevent import monkey; monkey.patch_all()
import sys
from app.core.redis_address import HostAndPort
from app.services.state_store.redis_engine.wire import WireOpener

wire = WireOpener(timeout_seconds=5).open(HostAndPort("127.0.0.1", int(sys.argv[1])))
assert wire.call("PING") == b"PONG"
assert wire._green._is_watched
wire.close()
assert wire._green._is_closed
"""


def test_a_connection_is_waited_for_by_a_watcher_that_ends_with_it(redis_server: RedisServer) -> None:
    script = [sys.executable, "-c", WATCHED, str(redis_server.port)]
    root = Path(__file__).parents[5]
    outcome = subprocess.run(script, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.skipif(IS_UNDER_GEVENT, reason="this is the run under gevent")
def test_all_of_this_holds_under_gevent(tmp_path: Path) -> None:
    over_tls = _FOLDER.parent / "test_confirm.py::test_records_that_nobody_touched_are_confirmed[redis-tls]"
    run_under_gevent(tmp_path, *(_FOLDER / f"{name}.py" for name in _FILES), over_tls)
