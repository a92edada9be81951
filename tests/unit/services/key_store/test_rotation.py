"""Rotation in a directory and in Redis: by one for all, whatever fails meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import StoreUnavailableError
from app.observability import audit
from app.services.key_ring import KeyRing
from app.services.key_store import Algorithm, KeyRotation, KeyStore, KeyStoreError, RotationPolicy
from app.services.key_store.factory import FILE_NAME
from app.services.private_document import DocumentFile, SealedDocument
from app.services.state_store import StateStore
from app.settings.schema.settings_file import KeySettings
from tests.support.processes import wait_until
from tests.support.redis_servers import RedisServer, build_place, running_redis
from tests.unit.services.key_store.support import DAY, NOW, build_policy
from tests.unit.services.state_store.engines import SteppedClock, open_redis

RING = KeyRing([bytes(range(32))])


class Machines:
    """Several workers' key stores over one place, and a clock that they share."""

    def __init__(self, open_document: Callable[[], Any], damage: Callable[[bytes | None], None]) -> None:
        self.clock = SteppedClock(NOW)
        self.damage = damage
        self._open_document = open_document
        self._ticks = iter(range(0, 1_000_000_000, 10))

    def open(self, algorithm: Algorithm = "ES256", **policy: float) -> KeyStore:
        return KeyStore(
            self._open_document(),
            build_policy(algorithm, **policy),
            clock=self.clock,
            monotonic=lambda: float(next(self._ticks)),
        )


def open_directory(tmp_path: Path) -> Machines:
    path = tmp_path / "keys" / FILE_NAME

    def damage(content: bytes | None) -> None:
        path.unlink() if content is None else path.write_bytes(content)

    return Machines(lambda: DocumentFile(path, holds="the signing keys"), damage)


def open_shared(server: RedisServer) -> tuple[Machines, StateStore]:
    state = open_redis(build_place(server.url), lambda: NOW)

    def damage(content: bytes | None) -> None:
        if content is None:
            state.delete("document:signing-keys")
        else:
            state.put("document:signing-keys", content, 100)

    return Machines(lambda: SealedDocument("signing-keys", state, RING, holds="the signing keys"), damage), state


@pytest.fixture(params=["directory", "redis"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    if request.param == "directory":
        yield open_directory(tmp_path)
        return
    machines, state = open_shared(request.getfixturevalue("redis_server"))
    yield machines
    state.close()


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    path = tmp_path / "audit.log"
    audit.configure(str(path))

    def read() -> list[tuple[str, str]]:
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [(event["event"], event["kid"]) for event in events]

    yield read
    audit.configure("stdout")


def published(store: KeyStore) -> list[str]:
    return [key["kid"] for key in store.public_jwks()["keys"]]


def test_the_first_key_signs_at_once(machines: Machines, trail: Callable[[], list[tuple[str, str]]]) -> None:
    store = machines.open()
    assert published(store) == [store.current.kid]
    assert trail() == [("key.created", store.current.kid), ("key.activated", store.current.kid)]


def test_a_key_is_published_before_it_signs_and_after(
    machines: Machines, trail: Callable[[], list[tuple[str, str]]]
) -> None:
    one, other = machines.open(), machines.open()
    first = one.current.kid
    machines.clock.step(30 * DAY - 3600)
    one.follow()
    other.follow()
    assert one.current.kid == other.current.kid == first
    _, second = published(one)
    assert published(other) == [first, second]

    machines.clock.step(3600)
    other.follow()
    one.follow()
    assert one.current.kid == other.current.kid == second
    assert published(one) == published(other) == [second, first]

    machines.clock.step(31 * DAY)
    one.follow()
    assert first not in published(other)
    events = trail()
    assert events[:4] == [
        ("key.created", first),
        ("key.activated", first),
        ("key.created", second),
        ("key.activated", second),
    ]
    assert ("key.retired", first) in events


def test_the_jwks_has_a_new_key_before_the_worker_has_looked_again(machines: Machines) -> None:
    one, other = machines.open(), machines.open()
    assert published(other) == [one.current.kid]
    fresh = one.rotate()
    assert fresh.kid in published(other)


def test_signing_asks_no_place(machines: Machines) -> None:
    store = machines.open()
    kid = store.current.kid
    machines.damage(b"damaged")
    assert store.current.kid == kid


def test_workers_that_find_the_same_due_make_one_key(machines: Machines) -> None:
    stores = [machines.open() for _ in range(6)]
    for store in stores:
        store.load()
    machines.clock.step(40 * DAY)
    threads = [threading.Thread(target=store.follow) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {tuple(published(store)) for store in stores} == {tuple(published(stores[0]))}
    assert len(published(stores[0])) == 2


def test_workers_that_start_at_once_on_an_empty_place_agree_on_one_key(machines: Machines) -> None:
    stores = [machines.open() for _ in range(6)]
    threads = [threading.Thread(target=store.follow) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({store.current.kid for store in stores}) == 1
    assert len(published(stores[0])) == 1


def test_another_algorithm_in_the_settings_begins_a_rotation_at_once(machines: Machines) -> None:
    first = machines.open().current
    changed = machines.open("PS256")
    changed.follow()
    assert changed.current.kid == first.kid
    assert [key["alg"] for key in changed.public_jwks()["keys"]] == ["ES256", "PS256"]
    machines.clock.step(3600)
    changed.follow()
    assert changed.current.algorithm == "PS256"
    assert [key["alg"] for key in changed.public_jwks()["keys"]] == ["PS256", "ES256"]


def test_a_worker_of_other_settings_follows_and_takes_nothing_back(machines: Machines) -> None:
    old, new = machines.open(), machines.open("PS256")
    old.follow()
    new.follow()
    before = published(new)
    old.follow()
    assert published(old) == before
    machines.clock.step(3600)
    old.follow()
    assert old.current.algorithm == "PS256"


def test_an_operator_may_rotate_and_nobody_waits_twice(machines: Machines) -> None:
    store = machines.open()
    first = store.current
    fresh = store.rotate()
    assert (fresh.state, store.current.kid) == ("next", first.kid)
    assert store.rotate().kid == fresh.kid
    at_once = store.rotate(at_once=True)
    assert (at_once.kid, at_once.state) == (fresh.kid, "current")
    assert published(machines.open()) == [fresh.kid, first.kid]


def test_an_operator_may_take_out_what_does_not_sign(
    machines: Machines, trail: Callable[[], list[tuple[str, str]]]
) -> None:
    store = machines.open()
    first = store.current.kid
    with pytest.raises(KeyStoreError, match=r"is the key that signs\. Replace it first: `bff keys rotate`"):
        store.retire(first)
    with pytest.raises(KeyStoreError, match="There is no key nonsense"):
        store.retire("nonsense")
    second = store.rotate(at_once=True).kid
    assert store.retire(first).kid == first
    assert published(machines.open()) == [second]
    assert trail()[-1] == ("key.retired", first)


def test_a_place_that_was_emptied_gets_back_the_keys_that_are_held(machines: Machines) -> None:
    one, other = machines.open(), machines.open()
    kid = one.current.kid
    other.load()
    machines.damage(None)
    other.follow()
    assert machines.open().current.kid == one.current.kid == kid


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 9, "keys": []}', b"\xff" * 40])
def test_a_damaged_place_takes_no_key_away(
    machines: Machines, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    store = machines.open()
    kid = store.current.kid
    assert store.check() == "ok"
    machines.damage(content)
    for _ in range(3):
        store.follow()
    assert store.current.kid == kid
    assert published(store) == [kid]
    assert store.check() == "held"
    assert capfd.readouterr().out.count("keys.unreadable") == 1
    with pytest.raises(KeyStoreError):
        store.rotate()

    fresh = machines.open()
    fresh.follow()
    assert fresh.check() == "unavailable"
    with pytest.raises(StoreUnavailableError):
        _ = fresh.current

    machines.damage(None)
    store.follow()
    assert store.check() == fresh.check() == "ok"
    assert fresh.current.kid == kid


def test_a_background_look_does_it_without_being_asked(machines: Machines) -> None:
    store = machines.open(publish_ahead_seconds=10.0)
    rotation = KeyRotation(store, interval_seconds=0.01)
    thread = rotation.start()
    wait_until(lambda: store.check() == "ok", timeout_seconds=10, what="the first key")
    first = store.current.kid
    machines.clock.step(30 * DAY)
    wait_until(lambda: len(store.list_keys()) == 2, timeout_seconds=10, what="the next key")
    machines.clock.step(10)
    wait_until(lambda: store.current.kid != first, timeout_seconds=10, what="the next key to sign")
    rotation.stop()
    thread.join(10)
    assert not thread.is_alive()


# A directory


def test_a_full_disk_leaves_the_keys_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    machines = open_directory(tmp_path)
    store = machines.open()
    before, content = published(store), (tmp_path / "keys" / FILE_NAME).read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyStoreError, match=r"The signing keys in .* cannot be used: No space left on device"):
        store.rotate()
    machines.clock.step(40 * DAY)
    for _ in range(3):
        store.follow()
    assert capfd.readouterr().out.count("keys.not_rotated") == 1
    assert store.check() == "ok"
    monkeypatch.undo()
    assert published(store) == before
    assert (tmp_path / "keys" / FILE_NAME).read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["lock", FILE_NAME]
    store.follow()
    assert len(published(store)) == 2


KILLED_PROGRAM = """
import os, sys
from pathlib import Path
from tests.unit.services.key_store.support import open_key_store

store = open_key_store(Path(sys.argv[1]))
os.fsync = lambda descriptor: os.kill(os.getpid(), 9)
store.rotate()
"""


def test_whoever_is_killed_while_writing_leaves_the_old_keys_and_the_next_tidies_up(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    store = open_directory(tmp_path).open()
    before = published(store)
    killed = subprocess.run([sys.executable, "-c", KILLED_PROGRAM, str(directory)], check=False, timeout=60)
    assert killed.returncode == -9
    assert len(list(directory.glob(".new-*"))) == 1
    assert published(store) == before
    store.rotate()
    assert sorted(path.name for path in directory.iterdir()) == ["lock", FILE_NAME]


# Redis


def test_keys_in_redis_lie_there_sealed(redis_server: RedisServer) -> None:
    machines, state = open_shared(redis_server)
    machines.open().rotate()
    stored = state.find("document:signing-keys")
    assert stored is not None
    assert b"kty" not in stored.value
    assert b'"d"' in RING.open(stored.value, "document:signing-keys")
    state.close()


def test_another_data_key_is_told_and_loses_nothing(redis_server: RedisServer) -> None:
    machines, state = open_shared(redis_server)
    kid = machines.open().current.kid
    stranger = SealedDocument("signing-keys", state, KeyRing([bytes(range(1, 33))]), holds="the signing keys")
    store = KeyStore(stranger, build_policy(), clock=machines.clock)
    with pytest.raises(KeyStoreError, match=r"All machines need the same keys in tokens\.data_key_file"):
        store.load()
    store.follow()
    assert store.check() == "unavailable"
    assert machines.open().current.kid == kid
    state.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "redis") as server:
        yield server


def test_a_redis_that_is_away_at_the_start_is_no_fault_and_heals(own_redis: RedisServer) -> None:
    machines, state = open_shared(own_redis)
    own_redis.kill()
    store = machines.open()
    store.follow()
    assert store.check() == "unavailable"
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        _ = store.current
    own_redis.start()
    wait_until(lambda: store.check() == "ok", timeout_seconds=20, what="the keys")
    kid = store.current.kid
    own_redis.kill()
    store.follow()
    assert (store.check(), store.current.kid, published(store)) == ("held", kid, [kid])
    state.close()


def test_a_policy_is_what_the_settings_say() -> None:
    assert RotationPolicy.from_settings(KeySettings()) == build_policy()
