from __future__ import annotations

from tests.unit.services.session_store.workers import other_worker, sessions, watched, watched_sessions
from tests.unit.services.state_store.engines import clock, engine, place, shared, state

__all__ = [
    "clock",
    "engine",
    "other_worker",
    "place",
    "sessions",
    "shared",
    "state",
    "watched",
    "watched_sessions",
]
