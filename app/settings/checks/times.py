"""Times that must fit each other."""

from __future__ import annotations

from collections.abc import Iterator

from app.settings.checks.draft import Draft
from app.settings.findings import Finding
from app.settings.schema import Settings

_DAY_SECONDS = 86_400
_USUAL_JWKS_CACHE_SECONDS = 300


def check_times(draft: Draft) -> Iterator[Finding]:
    session, keys = draft.settings.session, draft.settings.keys
    if session.touch_interval_seconds >= session.idle_timeout_seconds:
        wanted = "less than session.idle_timeout_seconds: else sessions in use would end"
        yield draft.in_settings("session", "touch_interval_seconds", wanted=wanted)
    if keys.retire_after_days <= keys.rotate_after_days:
        wanted = "more than keys.rotate_after_days: what a key signed must outlive it"
        yield draft.in_settings("keys", "retire_after_days", wanted=wanted)
    if keys.publish_ahead_seconds >= keys.rotate_after_days * _DAY_SECONDS:
        wanted = "less than keys.rotate_after_days: the next key is published within the time of the one before"
        yield draft.in_settings("keys", "publish_ahead_seconds", wanted=wanted)


def warn_of_times(draft: Draft) -> Iterator[str]:
    seconds = draft.settings.keys.publish_ahead_seconds
    if seconds < _USUAL_JWKS_CACHE_SECONDS:
        yield (
            f"keys.publish_ahead_seconds is {seconds}: identity providers often keep a JWKS for some minutes, and "
            "refuse a key that they have not read yet"
        )


def fit_touch_interval(settings: Settings, *, is_given: bool) -> Settings:
    """With a very short idle timeout, the touch interval that nobody asked for becomes a quarter of it."""
    session = settings.session
    if is_given or session.touch_interval_seconds < session.idle_timeout_seconds:
        return settings
    fitted = session.model_copy(update={"touch_interval_seconds": session.idle_timeout_seconds / 4})
    return settings.model_copy(update={"session": fitted})
