"""A directory store, and the files that lie in its folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from app.services.state_store.directory import DirectoryStateStore
from tests.unit.services.state_store.engines import NOON, SteppedClock

HOUR, DAY = 3600, 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def state(folder: Path, clock: SteppedClock) -> DirectoryStateStore:
    return DirectoryStateStore(folder, clock)


def find_file(folder: Path, key: str) -> Path:
    name = hashlib.sha256(key.encode()).hexdigest()
    return folder / name[:2] / name


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def set_age(path: Path, seconds: float) -> None:
    os.utime(path, (NOON - seconds, NOON - seconds), follow_symlinks=False)
