"""When a session is over: judged from its record and the time, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.session_store.record import SessionRecord
from app.settings.schema.settings_file import SessionSettings

CLOCK_STEP_TOLERANCE_SECONDS = 3600
"""A record from the future up to this far is believed: clocks are set back, and those of two machines differ."""


@dataclass(frozen=True)
class SessionTimeouts:
    idle_seconds: float
    absolute_seconds: float
    touch_interval_seconds: float

    @classmethod
    def from_settings(cls, settings: SessionSettings) -> SessionTimeouts:
        """A touch is due after half the idle time at the latest: else an active session would pass for an idle one."""
        return cls(
            settings.idle_timeout_seconds,
            settings.absolute_timeout_seconds,
            min(settings.touch_interval_seconds, settings.idle_timeout_seconds / 2),
        )

    def idle_remaining(self, record: SessionRecord, now: float) -> float:
        return record.last_seen_at + self.idle_seconds - max(now, record.last_seen_at)

    def absolute_remaining(self, record: SessionRecord, now: float) -> float:
        return record.created_at + self.absolute_seconds - max(now, record.created_at)

    def remaining(self, record: SessionRecord, now: float) -> float:
        return min(self.idle_remaining(record, now), self.absolute_remaining(record, now))

    def expires_at(self, record: SessionRecord) -> float:
        """When the session is over if nothing more is heard of it."""
        return min(record.last_seen_at + self.idle_seconds, self.absolute_expires_at(record))

    def absolute_expires_at(self, record: SessionRecord) -> float:
        """When the session is over in any case."""
        return record.created_at + self.absolute_seconds

    def is_over(self, record: SessionRecord, now: float) -> bool:
        """A record from further in the future than clocks may differ is not believed."""
        if now >= record.last_seen_at + self.idle_seconds or now >= record.created_at + self.absolute_seconds:
            return True
        return record.created_at - now > CLOCK_STEP_TOLERANCE_SECONDS

    def is_touch_due(self, record: SessionRecord, now: float) -> bool:
        return now - record.last_seen_at >= self.touch_interval_seconds
