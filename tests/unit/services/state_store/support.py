"""Keys of two sessions, as the store's tests name them."""

from __future__ import annotations

KEY = "session:" + "a" * 64
OTHER = "session:" + "b" * 64
