"""Pending logins in the store (attack rows L1, L2 and L24)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.core.errors import LoginStateInvalidError
from app.services.key_ring import KeyRing
from app.services.login_attempts import (
    LIFETIME_SECONDS,
    LoginAttempt,
    LoginAttemptStore,
    hash_secret,
    make_secret,
)
from app.services.state_store.directory import DirectoryStateStore

STATE = "s" * 43
BROWSER_SECRET = "b" * 43
ATTEMPT = LoginAttempt(
    started_at=1000.0,
    browser_secret_hash=hash_secret(BROWSER_SECRET),
    nonce="the-nonce",
    code_verifier="the-verifier",
    redirect_uri="https://app.example.com/auth/callback",
    return_to="/after",
    previous_session_key="k" * 64,
)
KEY = f"login:{hash_secret(STATE)}"


class World:
    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.state_store = DirectoryStateStore(directory / "state", lambda: self.now)
        self.key_ring = KeyRing([secrets.token_bytes(32)])
        self.attempts = LoginAttemptStore(self.state_store, self.key_ring)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.attempts.save(STATE, ATTEMPT)
    return world


def refuse(action: Callable[[], object], reason: str) -> None:
    with pytest.raises(LoginStateInvalidError, match=LoginStateInvalidError.title) as caught:
        action()
    assert reason in caught.value.internal_reason


def test_the_browser_that_began_a_login_gets_it_back_once(world: World) -> None:
    assert world.attempts.check_browser(STATE, BROWSER_SECRET) == ATTEMPT
    assert world.attempts.take(STATE) == ATTEMPT
    refuse(lambda: world.attempts.take(STATE), "used already")
    refuse(lambda: world.attempts.check_browser(STATE, BROWSER_SECRET), "no such login")


def test_another_browser_is_refused_and_does_not_use_the_login_up(world: World) -> None:
    refuse(lambda: world.attempts.check_browser(STATE, "c" * 43), "another browser")
    assert world.attempts.take(STATE) == ATTEMPT


def test_a_login_runs_out_of_time(world: World) -> None:
    world.now += LIFETIME_SECONDS
    refuse(lambda: world.attempts.check_browser(STATE, BROWSER_SECRET), "no such login")
    refuse(lambda: world.attempts.take(STATE), "used already")


def test_of_many_callbacks_at_once_one_gets_the_login(world: World) -> None:
    outcomes: list[str] = []

    def take() -> None:
        try:
            world.attempts.take(STATE)
            outcomes.append("taken")
        except LoginStateInvalidError:
            outcomes.append("refused")

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["refused"] * 7 + ["taken"]


def test_nothing_of_a_pending_login_can_be_read_in_the_store(world: World) -> None:
    record = world.state_store.find(KEY)
    assert record is not None
    for secret in (b"the-nonce", b"the-verifier", b"/after", STATE.encode(), BROWSER_SECRET.encode()):
        assert secret not in record.value
        assert secret.decode() not in KEY


@pytest.mark.parametrize("fault", ["tampered", "moved", "foreign-key", "other-version", "not-sealed"])
def test_a_record_that_is_not_ours_as_we_left_it_is_refused(world: World, fault: str) -> None:
    record = world.state_store.find(KEY)
    assert record is not None
    newer = msgspec.msgpack.encode(msgspec.structs.replace(ATTEMPT, version=99))
    value = {
        "tampered": record.value[:-1] + bytes([record.value[-1] ^ 1]),
        "moved": world.key_ring.seal(msgspec.msgpack.encode(ATTEMPT), "login:other"),
        "foreign-key": KeyRing([secrets.token_bytes(32)]).seal(msgspec.msgpack.encode(ATTEMPT), KEY),
        "other-version": world.key_ring.seal(newer, KEY),
        "not-sealed": msgspec.msgpack.encode(ATTEMPT),
    }[fault]
    world.state_store.put(KEY, value, 600)
    with pytest.raises(LoginStateInvalidError):
        world.attempts.check_browser(STATE, BROWSER_SECRET)


def test_a_secret_has_256_random_bits_and_no_repr_shows_one() -> None:
    first, second = make_secret(), make_secret()
    assert len(first) == 43
    assert first != second
    assert not any(secret in repr(ATTEMPT) for secret in ("the-nonce", "the-verifier", "k" * 64))
