"""What becomes of keys in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.key_store import plan
from app.services.key_store.plan import Keys, RotationPolicy
from app.services.key_store.signing_key import SigningKey, generate_signing_key
from tests.unit.services.key_store.support import DAY, NOW, build_policy

POLICY = build_policy()
KEY = generate_signing_key("ES256", "current", NOW)
NEXT = replace(KEY, kid="next", state="next")
OLD = replace(KEY, kid="old", state="retired")


def kids(keys: Keys) -> list[tuple[str, str]]:
    return [(key.kid, key.state) for key in keys]


def test_a_next_key_signs_once_it_was_published_long_enough() -> None:
    keys = (KEY, NEXT)
    assert plan.advance(keys, POLICY, NOW + 3599) == keys
    advanced = plan.advance(keys, POLICY, NOW + 3600)
    assert kids(advanced) == [(KEY.kid, "retired"), ("next", "current")]
    assert {key.state_since for key in advanced} == {NOW + 3600}
    assert [key.created_at for key in advanced] == [NOW, NOW]


def test_an_old_key_goes_when_it_is_old_enough() -> None:
    keys = (KEY, OLD)
    assert plan.advance(keys, POLICY, NOW + 60 * DAY - 1) == keys
    assert kids(plan.advance(keys, POLICY, NOW + 60 * DAY)) == [(KEY.kid, "current")]


def test_a_key_that_has_just_signed_stays_however_old_it_is() -> None:
    """The BFF was off for months: what it signed a moment ago must still be good."""
    late = NOW + 100 * DAY
    keys = plan.advance((KEY, replace(NEXT, created_at=late - 3600)), POLICY, late)
    assert kids(keys) == [(KEY.kid, "retired"), ("next", "current")]
    assert plan.advance(keys, POLICY, late + 299) == keys
    assert kids(plan.advance(keys, POLICY, late + 300)) == [("next", "current")]


def test_the_current_key_never_goes_for_its_age() -> None:
    assert plan.advance((KEY,), POLICY, NOW + 5000 * DAY) == (KEY,)


@pytest.mark.parametrize(
    ("keys", "seconds", "expected"),
    [
        pytest.param((KEY,), 0, False, id="new"),
        pytest.param((KEY,), 30 * DAY - 3601, False, id="not-yet"),
        pytest.param((KEY,), 30 * DAY - 3600, True, id="in-time-to-sign-when-the-other-is-old"),
        pytest.param((KEY,), 300 * DAY, True, id="long-since"),
        pytest.param((KEY, NEXT), 300 * DAY, False, id="under-way"),
        pytest.param((replace(KEY, algorithm="PS256"),), 0, True, id="other-algorithm"),
        pytest.param((replace(KEY, algorithm="PS256"), NEXT), 0, False, id="other-algorithm-under-way"),
        pytest.param((KEY, replace(NEXT, algorithm="PS256")), 0, False, id="somebody-elses-algorithm-under-way"),
    ],
)
def test_when_a_new_key_is_published(keys: Keys, seconds: float, expected: bool) -> None:
    assert plan.needs_next(keys, POLICY, NOW + seconds) is expected


def test_a_clock_set_back_takes_no_key_away_and_makes_none_sign_early() -> None:
    keys = plan.advance((KEY, NEXT), POLICY, NOW + 3600)
    assert plan.advance(keys, POLICY, NOW + 3400) == keys
    assert not plan.needs_next(keys, POLICY, NOW + 3400)
    assert plan.advance((KEY, NEXT), POLICY, NOW - 200) == (KEY, NEXT)


def test_a_key_made_by_a_clock_that_was_ahead_is_not_kept_for_that_long() -> None:
    ahead = replace(KEY, created_at=NOW + 400 * DAY, state_since=NOW + 400 * DAY)
    (mended,) = plan.advance((ahead,), POLICY, NOW)
    assert (mended.created_at, mended.state_since) == (NOW, NOW)
    assert plan.needs_next((mended,), POLICY, NOW + 30 * DAY)


def test_the_changes_are_told_as_events() -> None:
    before = (OLD, KEY)
    after = plan.activate((KEY, NEXT), "next", NOW)
    told = [(event, key.kid) for event, key in plan.tell_changes(before, after)]
    assert told == [("key.created", "next"), ("key.activated", "next"), ("key.retired", "old")]
    assert plan.tell_changes(after, after) == []


@pytest.mark.parametrize(("publish_ahead", "max_age"), [(1, 0), (60, 30), (600, 300), (86_400, 300)])
def test_the_jwks_may_be_kept_for_half_of_the_time_ahead_and_at_most_five_minutes(
    publish_ahead: float, max_age: int
) -> None:
    assert build_policy(publish_ahead_seconds=publish_ahead).jwks_max_age_seconds == max_age


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.floats(1, 20 * DAY), min_size=1, max_size=60),
    publish_ahead=st.floats(1, 29 * DAY),
    rotate_after=st.floats(30 * DAY, 40 * DAY),
    retire_after=st.floats(41 * DAY, 90 * DAY),
)
def test_at_any_time_what_signs_has_been_published_and_what_signed_still_is(
    steps: list[float], publish_ahead: float, rotate_after: float, retire_after: float
) -> None:
    policy = RotationPolicy("ES256", rotate_after, publish_ahead, retire_after)
    now, made = NOW, 0
    keys: Keys = (KEY,)
    signed_last: dict[str, float] = {}
    for step in steps:
        now += step
        keys = plan.advance(keys, policy, now)
        if plan.needs_next(keys, policy, now):
            made += 1
            fresh: SigningKey = replace(KEY, kid=f"key-{made}", state="next", created_at=now, state_since=now)
            keys = (*keys, fresh)
        assert [key.state for key in keys].count("current") == 1
        assert [key.state for key in keys].count("next") <= 1
        current = plan.get_current(keys)
        assert current.kid == KEY.kid or now >= current.created_at + publish_ahead
        signed_last[current.kid] = now
        just_signed = {kid for kid, at in signed_last.items() if now - at < plan.LEAST_OVERLAP_SECONDS}
        assert just_signed <= {key.kid for key in keys}
