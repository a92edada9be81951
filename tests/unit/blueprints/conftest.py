from __future__ import annotations

from tests.unit.hooks.conftest import app, captured, client

__all__ = ["app", "captured", "client"]
