"""The directory engine: what it shares with cachelib, and what of cachelib it closes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cachelib import FileSystemCache

from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.record_files import RecordFiles
from app.services.state_store.record_frame import build_header
from tests.unit.services.state_store.directory_files import find_file, folder
from tests.unit.services.state_store.engines import SteppedClock
from tests.unit.services.state_store.support import KEY

__all__ = ["folder"]


def test_cachelib_can_tell_which_records_of_ours_are_there(folder: Path) -> None:
    state = DirectoryStateStore(folder, time.time)
    state.put(KEY, b"value", 60)
    file = find_file(folder, KEY)
    cache = FileSystemCache(str(file.parent), threshold=0)
    assert cache.has(KEY)
    file.write_bytes(build_header(time.time() - 10) + file.read_bytes()[4:])
    assert not cache.has(KEY)


@pytest.mark.parametrize("name", ["get", "set", "add", "delete", "has", "clear", "inc", "get_many"])
def test_nothing_of_cachelib_that_hides_errors_can_be_used(folder: Path, clock: SteppedClock, name: str) -> None:
    files = RecordFiles(folder, clock)
    with pytest.raises(NotImplementedError):
        getattr(files, name)(KEY, b"value")
