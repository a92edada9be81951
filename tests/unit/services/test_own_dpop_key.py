from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.errors import StoreUnavailableError
from app.services.key_ring import KeyRing
from app.services.own_dpop_key import RECORD_NAME, OwnDpopKey
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.interface import StoredRecord

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStateStore:
    return DirectoryStateStore(tmp_path / "state", lambda: 1_700_000_000.0)


class WatchedStore(DirectoryStateStore):
    """Tells when somebody has looked."""

    def find(self, key: str) -> StoredRecord | None:
        found = super().find(key)
        self.looks.release()
        return found

    looks = threading.Semaphore(0)


def test_of_many_workers_at_once_one_makes_the_key_and_all_have_it(tmp_path: Path) -> None:
    store = WatchedStore(tmp_path / "state", lambda: 1_700_000_000.0)
    with ThreadPoolExecutor(8) as pool:
        with store.lock("own-dpop-key", 0):
            calls = [pool.submit(OwnDpopKey(store, KeyRing([OLD])).get) for _ in range(8)]
            for _ in calls:
                assert store.looks.acquire(timeout=30)
        assert len({call.result().thumbprint for call in calls}) == 1


def test_the_key_lies_sealed(store: DirectoryStateStore) -> None:
    key = OwnDpopKey(store, KeyRing([OLD])).get()
    record = store.find(RECORD_NAME)
    assert record is not None
    assert b'"d"' not in record.value
    assert KeyRing([OLD]).open(record.value, bound_to=RECORD_NAME).decode() == key.text


def test_the_key_outlives_a_new_key_at_the_head_of_the_ring(store: DirectoryStateStore) -> None:
    key = OwnDpopKey(store, KeyRing([OLD])).get()
    assert OwnDpopKey(store, KeyRing([NEW, OLD])).get().thumbprint == key.thumbprint


def test_a_key_whose_seal_cannot_be_opened_any_more_is_replaced(store: DirectoryStateStore) -> None:
    key = OwnDpopKey(store, KeyRing([OLD])).get()
    replaced = OwnDpopKey(store, KeyRing([NEW])).get()
    assert replaced.thumbprint != key.thumbprint
    assert OwnDpopKey(store, KeyRing([NEW])).get().thumbprint == replaced.thumbprint


def test_a_store_that_is_away_is_told_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    store = DirectoryStateStore(tmp_path / "state", lambda: 0.0)
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").write_text("not a directory")
    with pytest.raises(StoreUnavailableError):
        OwnDpopKey(store, KeyRing([OLD])).get()
