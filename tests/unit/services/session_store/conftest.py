from __future__ import annotations

from tests.unit.services.state_store.engines import clock, engine, place, shared, state

__all__ = ["clock", "engine", "place", "shared", "state"]
