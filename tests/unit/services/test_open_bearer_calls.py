"""Looking again at a token that let something in which is still open."""

from __future__ import annotations

import threading

import pytest

from app.core.errors import IdpUnavailableError
from app.services.admission_watch import AdmissionWatch
from tests.unit.services.bearer_world import World, world

__all__ = ["world"]


def watch(world: World, *tokens: str) -> tuple[AdmissionWatch[bool], list[str]]:
    """What is open by these tokens, and the list of those that were ended."""
    ended: list[str] = []
    watching: AdmissionWatch[bool] = AdmissionWatch(world.bearers.see, sleep=lambda _: threading.Event().wait())
    for token in tokens:
        watching.begin(token, lambda token=token: ended.append(token))  # type: ignore[misc]
    return watching, ended


def test_what_a_token_opened_ends_when_the_token_does_and_nothing_else_ends(world: World) -> None:
    brief, lasting = world.sign(exp=world.now + 10), world.sign(exp=world.now + 600)
    watching, ended = watch(world, brief, lasting)
    watching.sweep()
    world.now += 39
    watching.sweep()
    assert ended == []
    world.now += 2
    watching.sweep()
    assert ended == [brief]


def test_what_a_token_opened_ends_when_its_issuer_says_so(world: World) -> None:
    world.say_active(exp=None)
    watching, ended = watch(world, "opaque-token")
    watching.sweep()
    world.answer = (200, {}, '{"active": false}')
    watching.sweep()
    assert ended == [], "an answer holds for a minute"
    world.now += 60
    watching.sweep()
    assert ended == ["opaque-token"]


def test_an_issuer_that_is_away_ends_nothing(world: World) -> None:
    world.say_active(exp=None)
    watching, ended = watch(world, "opaque-token")
    watching.sweep()
    world.answer = (503, {}, "")
    world.now += 3600
    watching.sweep()
    assert ended == []
    with pytest.raises(IdpUnavailableError):
        world.authenticate("opaque-token")
