"""What is kept of a refresh, and what is not believed (T16)."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import ServiceTokenUnavailableError
from tests.unit.services.session_tokens_world import LIFETIME_SECONDS, USER, World, world

__all__ = ["world"]


def test_t16_what_a_refresh_leaves_out_stays_as_it_was(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.token_changes = {"refresh_token": None, "expires_in": None}
    world.start_worker().get(USER, key)
    stored = world.stored(key)
    assert (stored.refresh_token, stored.id_token) == ("first-refresh-of-alice", "first-id-token")
    assert stored.expires_at is not None
    assert stored.expires_at > world.now


def test_a_rotated_refresh_token_and_a_new_id_token_are_kept(world: World) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    id_token = world.idp.sign_id_token(sub="alice")
    world.idp.token_changes = {"id_token": id_token}
    world.start_worker().get(USER, key)
    assert (world.stored(key).refresh_token, world.stored(key).id_token) == ("refresh-1", id_token)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "mallory"}, id="T16-another-sub"),
        pytest.param({"sub": "alice", "iss": "https://evil.example"}, id="T16-another-iss"),
        pytest.param({"sub": "alice", "aud": "somebody-else"}, id="another-aud"),
        pytest.param({"sub": "mallory", "exp": 1}, id="T16-another-sub-and-expired"),
    ],
)
def test_t16_an_id_token_that_speaks_of_somebody_else_is_refused_and_nothing_is_kept(
    world: World, claims: dict[str, Any]
) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.token_changes = {"id_token": world.idp.sign_id_token(**claims)}
    with pytest.raises(ServiceTokenUnavailableError):
        world.start_worker().get(USER, key)
    assert world.stored(key).access_token == "first-of-alice"
    assert world.outcomes == ["refused"]
    assert world.sessions.find_by_key(key) is not None


@pytest.mark.parametrize("ahead_seconds", [-600, -20, 20, 600])
def test_o8_a_provider_whose_clock_is_off_gives_tokens_for_as_long_as_it_says(world: World, ahead_seconds: int) -> None:
    """`expires_in` is a length of time (RFC 6749 §5.1)."""
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.clock = lambda: world.now + ahead_seconds
    if abs(ahead_seconds) < 30:
        world.idp.token_changes = {"id_token": world.idp.sign_id_token(sub="alice")}
    world.start_worker().get(USER, key)
    assert world.stored(key).expires_at == world.now + LIFETIME_SECONDS


@pytest.mark.parametrize("ahead_seconds", [-600, 600])
def test_o8_an_id_token_from_another_time_is_dropped_and_the_tokens_that_came_with_it_are_kept(
    world: World, ahead_seconds: int
) -> None:
    key = world.log_in()
    world.now += LIFETIME_SECONDS
    world.idp.clock = lambda: world.now + ahead_seconds
    world.idp.token_changes = {"id_token": world.idp.sign_id_token(sub="alice")}
    first = world.start_worker().get(USER, key)
    assert first == world.stored(key).access_token == "token-1"
    assert world.stored(key).id_token == "first-id-token"
    world.now += LIFETIME_SECONDS
    assert world.start_worker().get(USER, key) == "token-2"
