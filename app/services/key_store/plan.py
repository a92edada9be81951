"""What becomes of the keys in the course of time. Pure: keys in, keys out.

A new key is published before it signs, for as long as a provider may go on with the JWKS it has read, and an old one
stays published after it signed. So at any moment every key that any worker signs with is known to everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from app.services.key_store.signing_key import Algorithm, SigningKey
from app.settings.schema.settings_file import KeySettings

_DAY_SECONDS = 86_400.0
_LONGEST_MAX_AGE_SECONDS = 300
LEAST_OVERLAP_SECONDS = 300.0
"""However old a key is when it stops signing, what it signed a moment ago must still be good."""
_CLOCK_TOLERANCE_SECONDS = 300.0
"""Beyond this a key from the future tells that a clock was wrong when it was made."""

Keys = tuple[SigningKey, ...]


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The settings under `keys`, in seconds."""

    algorithm: Algorithm
    rotate_after_seconds: float
    publish_ahead_seconds: float
    retire_after_seconds: float

    @classmethod
    def from_settings(cls, settings: KeySettings) -> Self:
        return cls(
            algorithm=settings.algorithm,
            rotate_after_seconds=settings.rotate_after_days * _DAY_SECONDS,
            publish_ahead_seconds=settings.publish_ahead_seconds,
            retire_after_seconds=settings.retire_after_days * _DAY_SECONDS,
        )

    @property
    def jwks_max_age_seconds(self) -> int:
        """How long anybody may keep the JWKS. Half of the time ahead leaves the other half for clocks that differ, and
        for workers that hear of a new key later than others."""
        return int(min(_LONGEST_MAX_AGE_SECONDS, self.publish_ahead_seconds / 2))

    def tell_next_change(self, key: SigningKey) -> float:
        """When the key signs (next), is replaced (current) or goes (retired)."""
        if key.state == "next":
            return key.created_at + self.publish_ahead_seconds
        if key.state == "current":
            return key.created_at + self.rotate_after_seconds
        return max(key.created_at + self.retire_after_seconds, key.state_since + LEAST_OVERLAP_SECONDS)


def get_current(keys: Keys) -> SigningKey:
    return next(key for key in keys if key.state == "current")


def find_next(keys: Keys) -> SigningKey | None:
    return next((key for key in keys if key.state == "next"), None)


def advance(keys: Keys, policy: RotationPolicy, now: float) -> Keys:
    """Lets the next key sign and drops old ones, where it is time."""
    keys = tuple(_mend_time(key, now) for key in keys)
    following = find_next(keys)
    if following is not None and now >= policy.tell_next_change(following):
        keys = activate(keys, following.kid, now)
    return tuple(key for key in keys if key.state != "retired" or now < policy.tell_next_change(key))


def needs_next(keys: Keys, policy: RotationPolicy, now: float) -> bool:
    """Whether a new key has to be published. One for another algorithm that is under way is left to come first: two
    machines whose settings differ must not take each other's key back."""
    if find_next(keys) is not None:
        return False
    current = get_current(keys)
    publish_at = policy.tell_next_change(current) - policy.publish_ahead_seconds
    return current.algorithm != policy.algorithm or now >= publish_at


def activate(keys: Keys, kid: str, now: float) -> Keys:
    """Lets the key `kid` sign, and the current one no more."""

    def change(key: SigningKey) -> SigningKey:
        if key.kid == kid:
            return replace(key, state="current", state_since=now)
        return replace(key, state="retired", state_since=now) if key.state == "current" else key

    return tuple(map(change, keys))


def tell_changes(before: Keys, after: Keys) -> list[tuple[str, SigningKey]]:
    """The audit events that lead from one to the other."""
    known = {key.kid: key for key in before}
    kept = {key.kid for key in after}
    created = [("key.created", key) for key in after if key.kid not in known]
    activated = [
        ("key.activated", key)
        for key in after
        if key.state == "current" and (key.kid not in known or known[key.kid].state != "current")
    ]
    return [*created, *activated, *(("key.retired", key) for key in before if key.kid not in kept)]


def _mend_time(key: SigningKey, now: float) -> SigningKey:
    """A clock that ran ahead must not keep a key for all the time it was ahead."""
    if max(key.created_at, key.state_since) <= now + _CLOCK_TOLERANCE_SECONDS:
        return key
    return replace(key, created_at=min(key.created_at, now), state_since=min(key.state_since, now))
