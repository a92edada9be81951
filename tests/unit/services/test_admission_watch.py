"""What is open in a session ends with it: a logout, the store's word, time; and a store that is silent ends nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from app.core.errors import StoreUnavailableError
from app.services.admission_watch import AT_ONCE, PAUSE_SECONDS, AdmissionWatch, build_time_look
from app.services.session_store import SessionStore
from app.services.state_store import StateStore, StoredRecord
from app.services.state_store.directory import DirectoryStateStore
from tests.unit.services.session_store.support import ABSOLUTE, IDLE, KEY_RING, TOUCH, build_login, build_settings


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Store(DirectoryStateStore):
    """Counts reads; fails or has lost its hearing when it is told to."""

    reads = 0
    is_down = False
    is_deaf = False

    def find(self, key: str) -> StoredRecord | None:
        if self.is_down:
            raise StoreUnavailableError
        self.reads += 1
        return super().find(key)

    def hears_changes(self) -> bool:
        return not self.is_deaf


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.state = Store(directory, self.clock)
        self.sessions = build_sessions(self.state, self.clock)
        self.elsewhere = build_sessions(self.state, self.clock)
        self.watch = AdmissionWatch(self.sessions.see, sleep=lambda _: threading.Event().wait())
        self.ended: list[str] = []

    def open(self, name: str) -> tuple[str, Callable[[], None]]:
        """Something open in a new session; returns the session's id and how it stops by itself."""
        session_id, _ = self.sessions.create(build_login())
        return session_id, self.open_in(session_id, name)

    def open_in(self, session_id: str, name: str) -> Callable[[], None]:
        return self.watch.begin(self.sessions.session_key(session_id), lambda: self.ended.append(name))


def build_sessions(state: StateStore, clock: Clock, **changes: Any) -> SessionStore:
    return SessionStore(state, KEY_RING, settings=build_settings(**changes), clock=clock)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "state")


def test_what_is_open_ends_with_its_session_and_nothing_else_does(world: World) -> None:
    ending, _ = world.open("ending")
    world.open_in(ending, "also ending")
    world.open("staying")
    world.watch.sweep()
    assert world.ended == []
    world.elsewhere.end(ending)
    world.watch.sweep()
    assert world.ended == ["ending", "also ending"]
    world.watch.sweep()
    assert len(world.ended) == 2, "once"


def test_a_session_that_ended_before_it_was_looked_at_is_over(world: World) -> None:
    session_id, _ = world.sessions.create(build_login())
    world.elsewhere.end(session_id)
    world.open_in(session_id, "late")
    world.watch.sweep()
    assert world.ended == ["late"]


@pytest.mark.parametrize("lifetime", [IDLE, ABSOLUTE])
def test_time_ends_what_is_open(world: World, lifetime: int) -> None:
    session_id, _ = world.open("stream")
    ends_at = world.clock.now + lifetime
    while world.clock.now < ends_at:
        world.watch.sweep()
        assert world.ended == []
        world.clock.now += TOUCH
        record = world.sessions.find(session_id)
        if lifetime == ABSOLUTE and record:  # somebody is active
            world.elsewhere.touch(session_id, record)
    world.watch.sweep()
    assert world.ended == ["stream"]


def test_what_is_over_by_itself_is_not_ended_later(world: World) -> None:
    session_id, stop = world.open("short")
    world.open_in(session_id, "long")
    stop()
    stop()
    world.elsewhere.end(session_id)
    world.watch.sweep()
    assert world.ended == ["long"]


def test_a_store_that_does_not_answer_ends_nothing(world: World) -> None:
    session_id, _ = world.open("stream")
    world.state.is_down = True
    world.watch.sweep()
    assert world.ended == []
    world.state.is_down = False
    world.watch.sweep()
    assert world.ended == []
    world.elsewhere.end(session_id)
    world.watch.sweep()
    assert world.ended == ["stream"]


def test_looking_again_reads_nothing_while_nothing_changes_but_once_a_minute(world: World) -> None:
    world.open("stream")
    world.watch.sweep()
    before = world.state.reads
    for _ in range(59):
        world.clock.now += 1
        world.watch.sweep()
    assert world.state.reads == before
    world.clock.now += 1
    world.watch.sweep()
    assert world.state.reads == before + 1


def test_while_no_changes_are_heard_each_look_reads(world: World) -> None:
    world.open("stream")
    world.watch.sweep()
    world.state.is_deaf = True
    before = world.state.reads
    world.watch.sweep()
    world.watch.sweep()
    assert world.state.reads == before + 2


def test_what_a_call_has_read_a_moment_ago_is_not_read_again(world: World) -> None:
    session_id, _ = world.open("stream")
    world.sessions.find(session_id)
    before = world.state.reads
    world.watch.sweep()
    assert world.state.reads == before


def test_what_a_call_has_read_is_read_again_while_no_changes_are_heard(world: World) -> None:
    session_id, _ = world.open("stream")
    world.sessions.find(session_id)
    world.state.is_deaf = True
    before = world.state.reads
    world.watch.sweep()
    assert world.state.reads == before + 1


def test_a_session_that_ended_after_a_call_has_read_it_is_over(world: World) -> None:
    session_id, _ = world.open("stream")
    world.sessions.find(session_id)
    world.elsewhere.end(session_id)
    world.watch.sweep()
    assert world.ended == ["stream"]


def test_a_record_that_did_not_change_is_not_held_twice(world: World) -> None:
    session_id, record = world.sessions.create(build_login())
    key = world.sessions.session_key(session_id)
    first = world.sessions.see(key, None)
    world.clock.now += 60
    again = world.sessions.see(key, first)
    assert first
    assert again
    assert again.read_at > first.read_at
    assert again.record is first.record
    world.clock.now += TOUCH
    touched = world.elsewhere.touch(session_id, record)
    changed = world.sessions.see(key, again)
    assert changed
    assert changed.record == touched != record


def test_many_sessions_are_looked_at_a_few_at_a_time(tmp_path: Path) -> None:
    world, pauses = World(tmp_path / "state"), []

    def sleep(seconds: float) -> None:
        if seconds != PAUSE_SECONDS:
            threading.Event().wait()
        pauses.append(world.state.reads)

    world.watch = AdmissionWatch(world.sessions.see, sleep=sleep)
    ids = [world.open(str(number))[0] for number in range(2 * AT_ONCE + 1)]
    world.elsewhere.end(ids[-1])
    before = world.state.reads
    world.watch.sweep()
    assert [reads - before for reads in pauses] == [AT_ONCE, 2 * AT_ONCE]
    assert world.ended == [str(2 * AT_ONCE)]


def test_an_end_that_fails_keeps_no_other_from_ending(world: World) -> None:
    def fail() -> None:
        raise RuntimeError

    session_id, _ = world.sessions.create(build_login())
    world.watch.begin(world.sessions.session_key(session_id), fail)
    world.open_in(session_id, "stream")
    world.elsewhere.end(session_id)
    world.watch.sweep()
    assert world.ended == ["stream"]


def test_it_looks_by_itself_once_something_is_open(tmp_path: Path) -> None:
    world, may_look = World(tmp_path / "state"), threading.Semaphore(0)
    watch = AdmissionWatch(world.sessions.see, sleep=lambda _: may_look.acquire())
    session_id, _ = world.sessions.create(build_login())
    ended = threading.Event()
    watch.begin(world.sessions.session_key(session_id), ended.set)
    may_look.release()
    world.elsewhere.end(session_id)
    may_look.release()
    may_look.release()
    assert ended.wait(10)


def test_a_look_that_fails_keeps_no_other_from_being_looked_at() -> None:
    def see(key: str, before: bool | None) -> bool | None:
        if key == "broken":
            raise RuntimeError
        return None

    ended: list[str] = []
    watch: AdmissionWatch[str, bool] = AdmissionWatch(see, sleep=lambda _: threading.Event().wait())
    watch.begin("broken", lambda: ended.append("broken"))
    watch.begin("over", lambda: ended.append("over"))
    watch.sweep()
    assert ended == ["over"]


def test_what_is_open_until_a_time_ends_then() -> None:
    clock, ended = Clock(), list[str]()
    watch: AdmissionWatch[float, Literal[True]] = AdmissionWatch(
        build_time_look(clock), sleep=lambda _: threading.Event().wait()
    )
    for name, seconds in (("brief", 10), ("also brief", 10), ("lasting", 600)):
        watch.begin(clock.now + seconds, lambda name=name: ended.append(name))  # type: ignore[misc]
    clock.now += 9.9
    watch.sweep()
    assert ended == []
    clock.now += 0.1
    watch.sweep()
    assert ended == ["brief", "also brief"]


def test_many_that_end_at_once_leave_room_for_others() -> None:
    clock, pauses, ended = Clock(), list[int](), list[int]()

    def sleep(seconds: float) -> None:
        if seconds != PAUSE_SECONDS:
            threading.Event().wait()
        pauses.append(len(ended))

    watch: AdmissionWatch[float, Literal[True]] = AdmissionWatch(build_time_look(clock), sleep=sleep)
    for number in range(2 * AT_ONCE + 1):
        watch.begin(clock.now, lambda number=number: ended.append(number))  # type: ignore[misc]
    watch.sweep()
    assert len(ended) == 2 * AT_ONCE + 1
    assert pauses == [AT_ONCE - 1, 2 * AT_ONCE - 1]
