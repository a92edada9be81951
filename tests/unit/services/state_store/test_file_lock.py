"""Locks by flock: the unlinked file, the fork, the pause between attempts."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.services.state_store.file_lock import acquire_file_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_a_lock_won_on_an_unlinked_file_does_not_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, unlinked = fcntl.flock, False

    def lose_the_race(descriptor: int, operation: int) -> None:
        nonlocal unlinked
        if operation & fcntl.LOCK_EX and not unlinked:
            unlinked = True
            path.unlink()  # the holder before us removed the file between our open and our flock
        original(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lose_the_race)
    first = acquire_file_lock(path, wait_seconds=0)
    assert first is not None
    assert path.exists()
    assert acquire_file_lock(path, wait_seconds=0) is None
    first.release()


def test_a_released_lock_is_free_though_a_forked_child_still_has_its_file(path: Path) -> None:
    held = acquire_file_lock(path, wait_seconds=0)
    assert held is not None
    inherited = os.dup(held.descriptor)  # what a fork leaves open in the child
    held.release()
    again = acquire_file_lock(path, wait_seconds=0)
    assert again is not None
    again.release()
    os.close(inherited)


def test_waiting_for_a_lock_asks_again_and_gives_up_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = acquire_file_lock(path, wait_seconds=0)
    assert held is not None
    now, pauses = 100.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    assert acquire_file_lock(path, wait_seconds=1.0) is None
    assert now == pytest.approx(101.0)
    assert max(pauses) <= 0.025
    held.release()


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, pathlib, sys, time
from app.services.state_store.directory import DirectoryStateStore

store = DirectoryStateStore(pathlib.Path(sys.argv[1]), time.time)
others_ran, waited = gevent.event.Event(), []

def wait_for_it():
    with store.lock("refresh:x", wait_seconds=60) as held:
        waited.append((bool(held), others_ran.is_set()))

with store.lock("refresh:x", wait_seconds=0):
    waiter = gevent.spawn(wait_for_it)
    gevent.spawn_later(0.01, others_ran.set)  # runs only if the waiting greenlet does not stop the process
    others_ran.wait()
    assert waited == []
waiter.join()
assert waited == [(True, True)], waited
"""


def test_a_greenlet_that_waits_for_a_lock_stops_no_other(tmp_path: Path) -> None:
    script = [sys.executable, "-c", GREENLETS, str(tmp_path / "state")]
    ended = subprocess.run(script, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_no_descriptor_is_left_open_by_a_lock_that_was_not_had(path: Path) -> None:
    held = acquire_file_lock(path, wait_seconds=0)
    assert held is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        assert acquire_file_lock(path, wait_seconds=0) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    held.release()


def test_a_link_in_the_place_of_a_lock_file_is_not_followed(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(OSError, match="symbolic"):
        acquire_file_lock(path, wait_seconds=0)
    assert not path.with_name("elsewhere").exists()
